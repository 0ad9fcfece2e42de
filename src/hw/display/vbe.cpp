#include "hw/display/vbe.h"

#include <algorithm>

namespace menura {

namespace {

bool is_depth(u16 bpp) {
  return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

}  // namespace

void Vbe::reset() {
  index_ = 0;
  registers_ = {};
  registers_[kId] = kVersion;
}

void Vbe::describe(StateVisitor& v) {
  v.field("index", index_);
  v.field("registers", registers_);
}

void Vbe::restored() {
  if (registers_[kBpp] != 0 && !is_depth(registers_[kBpp])) registers_[kBpp] = 8;
  registers_[kEnable] &= kOn | kGetCapabilities | kWideDac | kLinear | kKeepMemory;
  if (enabled()) fit();
}

u16 Vbe::read(unsigned index) const {
  if (index == kMemory64K) return static_cast<u16>(memory_ >> 16);
  if (index >= kCount) return 0;
  if (registers_[kEnable] & kGetCapabilities) {
    if (index == kXres) return kMaxXres;
    if (index == kYres) return kMaxYres;
    if (index == kBpp) return kMaxBpp;
  }
  return registers_[index];
}

void Vbe::write(unsigned index, u16 value) {
  switch (index) {
    case kId:
      // A guest finds out which versions there are by writing them.
      if (value >= 0xb0c0 && value <= kVersion) registers_[kId] = value;
      return;
    case kXres:
      if (value <= kMaxXres) registers_[kXres] = value & 0xfff8;
      break;
    case kYres:
      if (value <= kMaxYres) registers_[kYres] = value;
      break;
    case kBpp:
      if (value == 0) value = 8;
      if (is_depth(value)) registers_[kBpp] = value;
      break;
    case kEnable: enable(value); break;
    case kBank: registers_[kBank] = static_cast<u16>(value & ((memory_ >> 16) - 1)); break;
    case kVirtWidth:
    case kXOffset:
    case kYOffset: registers_[index] = value; break;
    default: return;
  }
  if (enabled()) fit();
  changed_();
}

void Vbe::enable(u16 value) {
  const bool was_on = enabled();
  registers_[kEnable] = value & (kOn | kGetCapabilities | kWideDac | kLinear | kKeepMemory);
  if (!enabled()) {
    registers_[kBank] = 0;
    return;
  }
  if (was_on) return;
  registers_[kVirtWidth] = registers_[kXres];
  registers_[kXOffset] = registers_[kYOffset] = 0;
  registers_[kBank] = 0;
  fit();
  if (!(value & kKeepMemory)) clear_(std::min(memory_, pitch() * height()));
}

u64 Vbe::line_bytes(u64 pixels) const {
  switch (registers_[kBpp]) {
    case 4: return pixels / 2;  // four planes of an eighth
    case 8: return pixels;
    case 15:
    case 16: return pixels * 2;
    case 24: return pixels * 3;
    default: return pixels * 4;
  }
}

u64 Vbe::pitch() const { return line_bytes(registers_[kVirtWidth]); }

u64 Vbe::start() const { return registers_[kYOffset] * pitch() + line_bytes(registers_[kXOffset]); }

// A picture lies inside the memory, whatever is written in whatever order.
void Vbe::fit() {
  if (registers_[kBpp] == 0) registers_[kBpp] = 8;
  u16& width = registers_[kVirtWidth];
  u16& xres = registers_[kXres];
  u16& yres = registers_[kYres];
  xres = std::clamp<u16>(xres & 0xfff8, 8, kMaxXres);
  yres = std::clamp<u16>(yres, 1, kMaxYres);
  if (line_bytes(xres) > memory_) xres = static_cast<u16>(memory_ / 4 & 0xfff8);
  width = std::max(width, xres);
  if (line_bytes(width) > memory_) width = xres;
  const u64 lines = memory_ / std::max<u64>(pitch(), 1);
  yres = static_cast<u16>(std::min<u64>(yres, lines));
  registers_[kVirtHeight] = static_cast<u16>(std::min<u64>(lines, 0xffff));
  if (registers_[kXOffset] + u32{xres} > width)
    registers_[kXOffset] = static_cast<u16>(width - xres);
  const u64 below = lines - yres;
  if (registers_[kYOffset] > below) registers_[kYOffset] = static_cast<u16>(below);
}

}  // namespace menura
