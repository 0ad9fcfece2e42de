// Registers of the Realtek RTL8139C, by name, offset and bit.
//
// Owner: hw/net. Threads: constants. Source: Realtek RTL8139C(L) data sheet, rev. 1.4, chapter 5.
// Example: `regs_.get(Rtl8139Reg::Rcr) & rtl8139::rcr::kAb`
#pragma once

#include "hw/core/register_file.h"

namespace menura {

// clang-format off
enum class Rtl8139Reg : u8 {
  Idr0, Idr4, Mar, Tsd0, Tsd1, Tsd2, Tsd3, Tsad0, Tsad1, Tsad2, Tsad3, Rbstart, Erbcr, Ersr, Cr, Capr,
  Cbr, Imr, Isr, Tcr, Rcr, Tctr, Mpc, Cr9346, Config0, Config1, TimerInt, Msr, Config3, Config4,
  Mulint, Rerid, Tsads, Bmcr, Bmsr, Anar, Anlpar, Aner, Dis, Fcsc, Nwaytr, Rec, Cscr, kCount
};
// clang-format on

namespace rtl8139 {

inline constexpr unsigned kTransmitters = 4;

namespace tsd {
inline constexpr u32 kSize = 0x1fff;
inline constexpr u32 kOwn = 1u << 13;
inline constexpr u32 kTok = 1u << 15;
inline constexpr u32 kTabt = 1u << 30;
inline constexpr u32 kCrs = 1u << 31;
}  // namespace tsd
namespace cr {
inline constexpr u8 kBufe = 1u << 0;
inline constexpr u8 kTe = 1u << 2;
inline constexpr u8 kRe = 1u << 3;
inline constexpr u8 kRst = 1u << 4;
}  // namespace cr
namespace irq {
inline constexpr u16 kRok = 1u << 0;
inline constexpr u16 kTok = 1u << 2;
inline constexpr u16 kTer = 1u << 3;
inline constexpr u16 kRxovw = 1u << 4;
inline constexpr u16 kLinkChange = 1u << 5;
inline constexpr u16 kTimeOut = 1u << 14;
}  // namespace irq
namespace rcr {
inline constexpr u32 kAap = 1u << 0;
inline constexpr u32 kApm = 1u << 1;
inline constexpr u32 kAm = 1u << 2;
inline constexpr u32 kAb = 1u << 3;
inline constexpr u32 kWrap = 1u << 7;
inline constexpr unsigned kRblenShift = 11;
}  // namespace rcr
inline constexpr unsigned kLoopbackShift = 17;  // of TCR, two bits: both for loopback
inline constexpr u8 kMsrLinkb = 1u << 2;
// Of CSCR; the data sheet calls them reserved, drivers tell a change of the link by the second.
inline constexpr u16 kCscrLinkOk = 1u << 10;
inline constexpr u16 kCscrLinkChanged = 1u << 11;

}  // namespace rtl8139

// clang-format off
inline constexpr RegisterTable<Rtl8139Reg, static_cast<size_t>(Rtl8139Reg::kCount)> kRtl8139Registers{{{
    {Rtl8139Reg::Idr0,     0x00, 4, "idr0",     0, 0xffffffff},
    {Rtl8139Reg::Idr4,     0x04, 2, "idr4",     0, 0xffff},
    {Rtl8139Reg::Mar,      0x08, 8, "mar",      0, ~u64{0}},
    {Rtl8139Reg::Tsd0,     0x10, 4, "tsd0",     rtl8139::tsd::kOwn, 0x003fffff},
    {Rtl8139Reg::Tsd1,     0x14, 4, "tsd1",     rtl8139::tsd::kOwn, 0x003fffff},
    {Rtl8139Reg::Tsd2,     0x18, 4, "tsd2",     rtl8139::tsd::kOwn, 0x003fffff},
    {Rtl8139Reg::Tsd3,     0x1c, 4, "tsd3",     rtl8139::tsd::kOwn, 0x003fffff},
    {Rtl8139Reg::Tsad0,    0x20, 4, "tsad0",    0, 0xffffffff},
    {Rtl8139Reg::Tsad1,    0x24, 4, "tsad1",    0, 0xffffffff},
    {Rtl8139Reg::Tsad2,    0x28, 4, "tsad2",    0, 0xffffffff},
    {Rtl8139Reg::Tsad3,    0x2c, 4, "tsad3",    0, 0xffffffff},
    {Rtl8139Reg::Rbstart,  0x30, 4, "rbstart",  0, 0xffffffff},
    {Rtl8139Reg::Erbcr,    0x34, 2, "erbcr",    0, 0},
    {Rtl8139Reg::Ersr,     0x36, 1, "ersr",     0, 0},
    {Rtl8139Reg::Cr,       0x37, 1, "cr",       0, rtl8139::cr::kTe | rtl8139::cr::kRe},
    {Rtl8139Reg::Capr,     0x38, 2, "capr",     0xfff0, 0xffff},
    {Rtl8139Reg::Cbr,      0x3a, 2, "cbr",      0, 0},
    {Rtl8139Reg::Imr,      0x3c, 2, "imr",      0, 0xe07f},
    {Rtl8139Reg::Isr,      0x3e, 2, "isr",      0, 0},
    {Rtl8139Reg::Tcr,      0x40, 4, "tcr",      0x74000000, 0x030717f1},
    {Rtl8139Reg::Rcr,      0x44, 4, "rcr",      0, 0x0f03ffbf},
    {Rtl8139Reg::Tctr,     0x48, 4, "tctr",     0, 0},
    {Rtl8139Reg::Mpc,      0x4c, 4, "mpc",      0, 0},
    {Rtl8139Reg::Cr9346,   0x50, 1, "9346cr",   0, 0xce},
    {Rtl8139Reg::Config0,  0x51, 1, "config0",  0, 0},
    {Rtl8139Reg::Config1,  0x52, 1, "config1",  0x0c, 0xff},
    {Rtl8139Reg::TimerInt, 0x54, 4, "timerint", 0, 0xffffffff},
    {Rtl8139Reg::Msr,      0x58, 1, "msr",      0x10, 0xc0},
    {Rtl8139Reg::Config3,  0x59, 1, "config3",  0x01, 0x78},
    {Rtl8139Reg::Config4,  0x5a, 1, "config4",  0, 0xff},
    {Rtl8139Reg::Mulint,   0x5c, 2, "mulint",   0, 0x0fff},
    {Rtl8139Reg::Rerid,    0x5e, 1, "rerid",    0x10, 0},
    {Rtl8139Reg::Tsads,    0x60, 2, "tsads",    0, 0},
    {Rtl8139Reg::Bmcr,     0x62, 2, "bmcr",     0, 0},
    {Rtl8139Reg::Bmsr,     0x64, 2, "bmsr",     0, 0},
    {Rtl8139Reg::Anar,     0x66, 2, "anar",     0, 0},
    {Rtl8139Reg::Anlpar,   0x68, 2, "anlpar",   0, 0},
    {Rtl8139Reg::Aner,     0x6a, 2, "aner",     0, 0},
    {Rtl8139Reg::Dis,      0x6c, 2, "dis",      0, 0},
    {Rtl8139Reg::Fcsc,     0x6e, 2, "fcsc",     0, 0},
    {Rtl8139Reg::Nwaytr,   0x70, 2, "nwaytr",   0, 0x00ff},
    {Rtl8139Reg::Rec,      0x72, 2, "rec",      0, 0},
    {Rtl8139Reg::Cscr,     0x74, 2, "cscr",     0x03c8, 0xf3ff},
}}};
// clang-format on

}  // namespace menura
