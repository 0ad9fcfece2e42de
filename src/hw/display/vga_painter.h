// VgaPainter: turns a VGA's registers and memory into a picture: text, planar, CGA's and 256 colours.
//
// Owner: the card. Threads: under the machine lock. Source: see vga_registers.h. Pictures are in the
// monitor's dots and lines: 320x200 comes as 640x400. Deviations: panning is applied in graphics
// modes only; nothing blinks.
// Example: `painter.paint(vga, display, DirtyPages::everything());`
#pragma once

#include <optional>
#include <vector>

#include "hw/display/dirty_pages.h"
#include "hw/display/vga_core.h"
#include "io/display.h"

namespace menura {

// What the registers come to.
struct VgaMode {
  enum class Kind : u8 { Blank, Text, Planar, Cga, Colour256 };
  Kind kind = Kind::Blank;
  u32 characters = 0;     // of a line: units of eight dots in graphics modes
  u32 dots = 8;           // of a character
  u32 zoom = 1;           // dots of the monitor for each
  u32 lines = 0;          // of the monitor
  u32 cell = 1;           // rows of a character's cell, or repetitions of a line
  u32 scans = 1;          // lines of the monitor for each of these
  u32 start = 0;          // counters
  u32 pitch = 0;          // counters
  u32 line_compare = 0;   // the monitor's line after which memory starts again at 0
  u32 panning = 0;        // dots
  bool pan_below = true;  // below the line compare, too

  static VgaMode of(const VgaRegisters& registers);
  u32 width() const { return characters * dots * zoom; }
  bool operator==(const VgaMode&) const = default;
};

class VgaPainter {
 public:
  // Draws what changed, everything if the pages say so.
  void paint(VgaCore& vga, Display& display, const DirtyPages& pages);
  static std::optional<TextScreen> text(VgaCore& vga);
  // Forgets what is on the surface: somebody else drew there.
  void forget() { mode_.reset(); }

 private:
  struct Cell {
    u16 code = 0;  // character and attribute
    bool cursor = false;
    bool operator==(const Cell&) const = default;
  };
  void paint_text(VgaCore& vga, Display& display, bool all);
  void paint_cell(VgaCore& vga, Display& display, const Cell& cell, u32 column, u32 row);
  void paint_lines(VgaCore& vga, Display& display, const DirtyPages& pages);
  void read_line(VgaCore& vga, u64 counter, std::vector<u32>& dots) const;
  void update_palette(const VgaCore& vga);
  u64 counter_of_line(const VgaRegisters& r, u32 line) const;

  // Derived from the core's state
  std::optional<VgaMode> mode_;  // of what is on the surface
  std::array<u32, 16> palette_{};
  std::vector<Cell> cells_;
  std::vector<u32> dots_;
};

}  // namespace menura
