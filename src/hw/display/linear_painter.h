// LinearPainter: a framebuffer of whole pixels in video memory, as a picture.
//
// Owner: the card. Threads: under the machine lock. Pixels are little-endian: 8 bits by palette, 15
// (5-5-5), 16 (5-6-5), 24 and 32 (blue first). Lines that run beyond the memory stay as they were.
// Example: `painter.paint(mode, vram, palette, display, DirtyPages::take(vram));`
#pragma once

#include <array>
#include <optional>

#include "hw/display/dirty_pages.h"
#include "io/display.h"

namespace menura {

struct LinearMode {
  u32 width = 0, height = 0;
  u32 bits = 32;
  u64 pitch = 0, start = 0;  // bytes
  bool operator==(const LinearMode&) const = default;
};

class LinearPainter {
 public:
  using Palette = std::array<u32, 256>;
  void paint(const LinearMode& mode, RamBlock& memory, const Palette& palette, Display& display,
             const DirtyPages& pages);
  void forget() { mode_.reset(); }

 private:
  // Derived
  std::optional<LinearMode> mode_;  // of what is on the surface
  std::vector<std::byte> line_;
};

}  // namespace menura
