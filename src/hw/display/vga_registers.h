// VgaRegisters: the registers of a VGA by the names of the data sheet, as one value.
//
// Owner: VgaCore. Threads: under the machine lock. Source: IBM PS/2 Hardware Interface Technical
// Reference, "Video Subsystem" (May 1992); IBM VGA/XGA Technical Reference. Indexed registers beyond
// the VGA's own are room for the extensions of chips that build on it. Example: see vga_core.h.
#pragma once

#include <array>

#include "state/visitor.h"

namespace menura {

// Sequencer (3C4h).
namespace sequencer {
enum : u8 { kReset = 0, kClockingMode = 1, kMapMask = 2, kCharacterMap = 3, kMemoryMode = 4 };
enum : u8 { kEightDots = 0x01, kHalfDotClock = 0x08, kScreenOff = 0x20 };  // clocking mode
enum : u8 { kSequential = 0x04, kChain4 = 0x08 };                          // memory mode
}  // namespace sequencer

// CRT controller (3D4h or 3B4h).
namespace crtc {
enum : u8 {
  kHorizontalDisplayEnd = 0x01,
  kOverflow = 0x07,
  kPresetRowScan = 0x08,
  kMaximumScanLine = 0x09,
  kCursorStart = 0x0a,
  kCursorEnd = 0x0b,
  kStartHigh = 0x0c,
  kStartLow = 0x0d,
  kCursorHigh = 0x0e,
  kCursorLow = 0x0f,
  kVerticalRetraceEnd = 0x11,
  kVerticalDisplayEnd = 0x12,
  kOffset = 0x13,
  kUnderline = 0x14,
  kModeControl = 0x17,
  kLineCompare = 0x18,
};
enum : u8 { kDoubleScan = 0x80 };  // maximum scan line
enum : u8 { kCursorOff = 0x20 };   // cursor start
enum : u8 { kProtect = 0x80 };     // vertical retrace end: registers 0 to 7
enum : u8 { kRowScanIsA13 = 0x01, kRowScanIsA14 = 0x02, kByteMode = 0x40 };  // mode control
}  // namespace crtc

// Graphics controller (3CEh).
namespace graphics {
enum : u8 {
  kSetReset = 0,
  kEnableSetReset = 1,
  kColourCompare = 2,
  kDataRotate = 3,
  kReadMap = 4,
  kMode = 5,
  kMiscellaneous = 6,
  kColourDontCare = 7,
  kBitMask = 8,
};
enum : u8 { kReadCompare = 0x08, kOddEven = 0x10, kInterleave = 0x20, kColour256 = 0x40 };  // mode
enum : u8 { kGraphicsMode = 0x01 };  // miscellaneous
}  // namespace graphics

// Attribute controller (3C0h).
namespace attribute {
enum : u8 {
  kMode = 0x10,
  kOverscan = 0x11,
  kPlaneEnable = 0x12,
  kPanning = 0x13,
  kColourSelect = 0x14
};
enum : u8 {  // mode
  kLineGraphics = 0x04,
  kBlink = 0x08,
  kPanOnlyAbove = 0x20,
  kSelectP5P4 = 0x80,
};
enum : u8 { kPaletteSource = 0x20 };  // of the index: the palette belongs to the screen
}  // namespace attribute

struct VgaRegisters {
  std::array<u8, 32> sr{};
  std::array<u8, 64> cr{};
  std::array<u8, 64> gr{};
  std::array<u8, 32> ar{};
  u8 sr_index = 0, cr_index = 0, gr_index = 0, ar_index = 0;
  bool ar_data = false;  // the next write of 3C0h is data
  u8 miscellaneous = 0;  // 3C2h
  u8 feature = 0;        // 3DAh
  std::array<u8, 768> dac{};
  u8 dac_mask = 0xff;
  u8 dac_index = 0;      // of the next entry
  u8 dac_component = 0;  // 0 to 2
  bool dac_reading = false;
  std::array<u8, 3> dac_latch{};
  u32 latch = 0;  // a byte of each plane

  void describe(StateVisitor& v) {
    v.field("sr", sr);
    v.field("cr", cr);
    v.field("gr", gr);
    v.field("ar", ar);
    v.field("sr_index", sr_index);
    v.field("cr_index", cr_index);
    v.field("gr_index", gr_index);
    v.field("ar_index", ar_index);
    v.field("ar_data", ar_data);
    v.field("miscellaneous", miscellaneous);
    v.field("feature", feature);
    v.field("dac", dac);
    v.field("dac_mask", dac_mask);
    v.field("dac_index", dac_index);
    v.field("dac_component", dac_component);
    v.field("dac_reading", dac_reading);
    v.field("dac_latch", dac_latch);
    v.field("latch", latch);
  }
};

}  // namespace menura
