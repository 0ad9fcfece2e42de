// Registers of the Intel 82540EM, by name, offset and bit.
//
// Owner: hw/net. Threads: constants. Source: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers
// Software Developer's Manual 317453, chapter 13. Example: `regs_.get(E1000Reg::Rctl) & rctl::kEn`
#pragma once

#include "hw/core/register_file.h"

namespace menura {

// clang-format off
enum class E1000Reg : u8 {
  Ctrl, Status, Eecd, Eerd, CtrlExt, Mdic, Fcal, Fcah, Fct, Vet, Icr, Itr, Ics, Ims, Imc,
  Rctl, Fcttv, Txcw, Rxcw, Tctl, Tipg, Aifs, Ledctl, Pba, Fcrtl, Fcrth,
  Rdbal, Rdbah, Rdlen, Rdh, Rdt, Rdtr, Rxdctl, Radv, Rsrpd,
  Tdbal, Tdbah, Tdlen, Tdh, Tdt, Tidv, Txdctl, Tadv, Tspmt,
  Rxcsum, Wuc, Wufc, Wus, Manc, kCount
};
// clang-format on

namespace e1000 {

inline constexpr u32 kRegisterBytes = 0x20000;
inline constexpr u32 kStatistics = 0x4000;
inline constexpr u32 kMta = 0x5200;
inline constexpr u32 kRa = 0x5400;
inline constexpr u32 kVfta = 0x5600;
inline constexpr u32 kMtaWords = 128;
inline constexpr u32 kRaPairs = 16;
inline constexpr u32 kVftaWords = 128;

namespace ctrl {
inline constexpr u32 kFd = 1u << 0;
inline constexpr u32 kSlu = 1u << 6;
inline constexpr u32 kRst = 1u << 26;
inline constexpr u32 kVme = 1u << 30;
inline constexpr u32 kPhyRst = 1u << 31;
}  // namespace ctrl
namespace status {
inline constexpr u32 kFd = 1u << 0;
inline constexpr u32 kLu = 1u << 1;
inline constexpr u32 kSpeed1000 = 2u << 6;
}  // namespace status
namespace eecd {
inline constexpr u32 kSk = 1u << 0;
inline constexpr u32 kCs = 1u << 1;
inline constexpr u32 kDi = 1u << 2;
inline constexpr u32 kDo = 1u << 3;
inline constexpr u32 kReq = 1u << 6;
inline constexpr u32 kGnt = 1u << 7;
inline constexpr u32 kPres = 1u << 8;
}  // namespace eecd
namespace irq {
inline constexpr u32 kTxdw = 1u << 0;
inline constexpr u32 kTxqe = 1u << 1;
inline constexpr u32 kLsc = 1u << 2;
inline constexpr u32 kRxdmt0 = 1u << 4;
inline constexpr u32 kRxo = 1u << 6;
inline constexpr u32 kRxt0 = 1u << 7;
inline constexpr u32 kMdac = 1u << 9;
inline constexpr u32 kPhyInt = 1u << 12;
inline constexpr u32 kTxdLow = 1u << 15;
inline constexpr u32 kSrpd = 1u << 16;
}  // namespace irq
namespace rctl {
inline constexpr u32 kEn = 1u << 1;
inline constexpr u32 kUpe = 1u << 3;
inline constexpr u32 kMpe = 1u << 4;
inline constexpr u32 kLpe = 1u << 5;
inline constexpr unsigned kLbmShift = 6;
inline constexpr unsigned kRdmtsShift = 8;
inline constexpr unsigned kMoShift = 12;
inline constexpr u32 kBam = 1u << 15;
inline constexpr unsigned kBsizeShift = 16;
inline constexpr u32 kVfe = 1u << 18;
inline constexpr u32 kCfien = 1u << 19;
inline constexpr u32 kCfi = 1u << 20;
inline constexpr u32 kBsex = 1u << 25;
inline constexpr u32 kSecrc = 1u << 26;
}  // namespace rctl
namespace tctl {
inline constexpr u32 kEn = 1u << 1;
inline constexpr u32 kPsp = 1u << 3;
}  // namespace tctl
namespace rxcsum {
inline constexpr u32 kIpofl = 1u << 8;
inline constexpr u32 kTuofl = 1u << 9;
}  // namespace rxcsum

}  // namespace e1000

// Delay and length registers keep the bits that the manual defines; addresses are 16-byte aligned.
// clang-format off
inline constexpr RegisterTable<E1000Reg, static_cast<size_t>(E1000Reg::kCount)> kE1000Registers{{{
    {E1000Reg::Ctrl,    0x0000, 4, "ctrl",    0x00000241, 0xffffffff},
    {E1000Reg::Status,  0x0008, 4, "status",  0x00000381, 0},
    {E1000Reg::Eecd,    0x0010, 4, "eecd",    0x00000100, 0x00000047},
    {E1000Reg::Eerd,    0x0014, 4, "eerd",    0, 0},
    {E1000Reg::CtrlExt, 0x0018, 4, "ctrl_ext", 0, 0x0fffffff},
    {E1000Reg::Mdic,    0x0020, 4, "mdic",    1u << 28, 0},
    {E1000Reg::Fcal,    0x0028, 4, "fcal",    0, 0xffffffff},
    {E1000Reg::Fcah,    0x002c, 4, "fcah",    0, 0xffff},
    {E1000Reg::Fct,     0x0030, 4, "fct",     0, 0xffff},
    {E1000Reg::Vet,     0x0038, 4, "vet",     0x8100, 0xffff},
    {E1000Reg::Icr,     0x00c0, 4, "icr",     0, 0},
    {E1000Reg::Itr,     0x00c4, 4, "itr",     0, 0xffff},
    {E1000Reg::Ics,     0x00c8, 4, "ics",     0, 0},
    {E1000Reg::Ims,     0x00d0, 4, "ims",     0, 0},
    {E1000Reg::Imc,     0x00d8, 4, "imc",     0, 0},
    {E1000Reg::Rctl,    0x0100, 4, "rctl",    0, 0x06ffffff},
    {E1000Reg::Fcttv,   0x0170, 4, "fcttv",   0, 0xffff},
    {E1000Reg::Txcw,    0x0178, 4, "txcw",    0, 0xc000ffff},
    {E1000Reg::Rxcw,    0x0180, 4, "rxcw",    0, 0},
    {E1000Reg::Tctl,    0x0400, 4, "tctl",    0, 0x07fffffa},
    {E1000Reg::Tipg,    0x0410, 4, "tipg",    0x00602008, 0x3fffffff},
    {E1000Reg::Aifs,    0x0458, 4, "aifs",    0, 0xffff},
    {E1000Reg::Ledctl,  0x0e00, 4, "ledctl",  0x07068302, 0xffffffff},
    {E1000Reg::Pba,     0x1000, 4, "pba",     0x00100030, 0xffff},
    {E1000Reg::Fcrtl,   0x2160, 4, "fcrtl",   0, 0x8000fff8},
    {E1000Reg::Fcrth,   0x2168, 4, "fcrth",   0, 0x8000fff8},
    {E1000Reg::Rdbal,   0x2800, 4, "rdbal",   0, 0xfffffff0},
    {E1000Reg::Rdbah,   0x2804, 4, "rdbah",   0, 0xffffffff},
    {E1000Reg::Rdlen,   0x2808, 4, "rdlen",   0, 0x000fff80},
    {E1000Reg::Rdh,     0x2810, 4, "rdh",     0, 0xffff},
    {E1000Reg::Rdt,     0x2818, 4, "rdt",     0, 0xffff},
    {E1000Reg::Rdtr,    0x2820, 4, "rdtr",    0, 0xffff},
    {E1000Reg::Rxdctl,  0x2828, 4, "rxdctl",  0, 0x013f3f3f},
    {E1000Reg::Radv,    0x282c, 4, "radv",    0, 0xffff},
    {E1000Reg::Rsrpd,   0x2c00, 4, "rsrpd",   0, 0x0fff},
    {E1000Reg::Tdbal,   0x3800, 4, "tdbal",   0, 0xfffffff0},
    {E1000Reg::Tdbah,   0x3804, 4, "tdbah",   0, 0xffffffff},
    {E1000Reg::Tdlen,   0x3808, 4, "tdlen",   0, 0x000fff80},
    {E1000Reg::Tdh,     0x3810, 4, "tdh",     0, 0xffff},
    {E1000Reg::Tdt,     0x3818, 4, "tdt",     0, 0xffff},
    {E1000Reg::Tidv,    0x3820, 4, "tidv",    0, 0xffff},
    {E1000Reg::Txdctl,  0x3828, 4, "txdctl",  0, 0xff3f3f3f},
    {E1000Reg::Tadv,    0x382c, 4, "tadv",    0, 0xffff},
    {E1000Reg::Tspmt,   0x3830, 4, "tspmt",   0x01000400, 0xffffffff},
    {E1000Reg::Rxcsum,  0x5000, 4, "rxcsum",  0, 0x000007ff},
    {E1000Reg::Wuc,     0x5800, 4, "wuc",     0, 0x0000000f},
    {E1000Reg::Wufc,    0x5808, 4, "wufc",    0, 0x000f00ff},
    {E1000Reg::Wus,     0x5810, 4, "wus",     0, 0x000f00ff},
    {E1000Reg::Manc,    0x5820, 4, "manc",    0, 0xffffffff},
}}};
// clang-format on

}  // namespace menura
