#include "hw/display/linear_painter.h"

#include <array>

#include "base/bytes.h"

namespace menura {

namespace {

u32 widen5(u32 value) { return value << 3 | value >> 2; }
u32 widen6(u32 value) { return value << 2 | value >> 4; }

u64 line_length(const LinearMode& mode) { return u64{mode.width} * ((mode.bits + 7) / 8); }

void convert(ConstBytes from, const LinearMode& mode, const LinearPainter::Palette& palette,
             u32* to) {
  switch (mode.bits) {
    case 8:
      for (u32 x = 0; x < mode.width; x++) to[x] = palette[static_cast<u8>(from[x])];
      return;
    case 15:
      for (u32 x = 0; x < mode.width; x++) {
        const u32 v = load_le<u16>(from, size_t{x} * 2);
        to[x] = widen5((v >> 10) & 31) << 16 | widen5((v >> 5) & 31) << 8 | widen5(v & 31);
      }
      return;
    case 16:
      for (u32 x = 0; x < mode.width; x++) {
        const u32 v = load_le<u16>(from, size_t{x} * 2);
        to[x] = widen5(v >> 11) << 16 | widen6((v >> 5) & 63) << 8 | widen5(v & 31);
      }
      return;
    case 24:
      for (u32 x = 0; x < mode.width; x++) {
        const size_t at = size_t{x} * 3;
        to[x] = static_cast<u32>(from[at]) | static_cast<u32>(from[at + 1]) << 8 |
                static_cast<u32>(from[at + 2]) << 16;
      }
      return;
    default:
      for (u32 x = 0; x < mode.width; x++) to[x] = load_raw<u32>(&from[size_t{x} * 4]) & 0xff'ffff;
  }
}

}  // namespace

void LinearPainter::paint(const LinearMode& mode, RamBlock& memory, const Palette& palette,
                          Display& display, const DirtyPages& pages) {
  const bool resized = display.resize(mode.width, mode.height);
  const bool all = resized || mode_ != mode || pages.all();
  mode_ = mode;
  if (!all && pages.none()) return;
  const u64 length = line_length(mode);
  line_.resize(length);
  u32 first = 0, count = 0;  // lines drawn and not told yet
  for (u32 y = 0; y < mode.height; y++) {
    const u64 at = mode.start + y * mode.pitch;
    if (at + length > memory.size() || !(all || pages.touches(at, length))) {
      if (count > 0) display.changed({0, first, mode.width, std::exchange(count, 0)});
      continue;
    }
    memory.read(at, line_);
    convert(line_, mode, palette, display.row(y));
    if (count++ == 0) first = y;
  }
  if (count > 0) display.changed({0, first, mode.width, count});
}

}  // namespace menura
