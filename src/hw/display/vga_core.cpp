#include "hw/display/vga_core.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u16 kFirstPort = 0x3b0;

// The VGA's own indexed registers and the bits they have; 0: not there.
constexpr std::array<u8, 5> kSequencerBits = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
constexpr std::array<u8, 9> kGraphicsBits = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
constexpr u8 kLastCrtc = 0x18;
constexpr std::array<u8, 0x15> kAttributeBits = {0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                                 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                                 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};

// A frame of 70 Hz: 449 lines, of which 400 are seen. The retrace is shown for all of the rest, so
// that a guest that polls slowly does not miss it.
constexpr i64 kFrameNs = 14'268'000;
constexpr i64 kLineNs = kFrameNs / 449;
constexpr i64 kShownLines = 400;

// The plane where text modes have their characters' shapes.
constexpr unsigned kFontPlane = 0x04;

// Each bit of a plane mask as a byte of ones.
constexpr u32 spread(unsigned planes) {
  u32 mask = 0;
  for (unsigned plane = 0; plane < 4; plane++)
    if (planes & (1u << plane)) mask |= 0xffu << (8 * plane);
  return mask;
}
constexpr u32 repeat(u8 value) { return value * 0x0101'0101u; }

u8 rotate_right(u8 value, unsigned count) {
  return static_cast<u8>(value >> count | value << ((8 - count) & 7));
}

}  // namespace

VgaCore::VgaCore(std::string name, Region& vram_region, TimerQueue& time)
    : vram_(vram_region.ram_block()),
      time_(time),
      ports_(Region::mmio(name + "-ports", 0x30, ports_window_, {.handler_max = 1})),
      mono_(Region::alias(name + "-mono-crtc", ports_, 0x04, 2)),
      mono_status_(Region::alias(name + "-mono-status", ports_, 0x0a, 1)),
      main_(Region::alias(name + "-main", ports_, 0x10, 16)),
      colour_(Region::alias(name + "-crtc", ports_, 0x24, 2)),
      colour_status_(Region::alias(name + "-status", ports_, 0x2a, 1)),
      window_(Region::mmio(name + "-window", kWindowSize, memory_window_, {.handler_max = 1})),
      direct_(
          Region::alias(name + "-direct", vram_region, 0, std::min<u64>(64 * KiB, vram_->size()))) {
  ensure(is_power_of_two(vram_->size()), "a power of two of video memory");
  direct_.set_enabled(false);
}

VgaCore::~VgaCore() {
  if (!io_) return;
  for (Region* part : {&mono_, &mono_status_, &main_, &colour_, &colour_status_}) io_->unmap(*part);
  memory_->unmap(window_);
  memory_->unmap(direct_);
}

void VgaCore::map(Region& io, Region& memory) {
  io_ = &io;
  memory_ = &memory;
  io.map(0x3b4, mono_);
  io.map(0x3ba, mono_status_);
  io.map(0x3c0, main_);
  io.map(0x3d4, colour_);
  io.map(0x3da, colour_status_);
  memory.map(kWindow, window_, 1);
  memory.map(kWindow, direct_, 2);
}

void VgaCore::reset() {
  registers_ = {};
  bank_ = 0;
  linear_ = false;
  wide_dac_ = false;
  changed_ = true;
  update_window();
}

void VgaCore::restored(bool wide_dac) {
  wide_dac_ = wide_dac;
  changed_ = true;
  update_window();
}

u64 VgaCore::read_ports(Access access) {
  return read_port(static_cast<u16>(kFirstPort + access.offset));
}
void VgaCore::write_ports(Access access, u64 value) {
  write_port(static_cast<u16>(kFirstPort + access.offset), static_cast<u8>(value));
}

u8 VgaCore::read_port(u16 port) {
  const bool colour = port >= 0x3d0;
  if ((port < 0x3c0 || colour) && colour != colour_ports()) return 0xff;
  switch (port) {
    case 0x3c0: return registers_.ar_index;
    case 0x3c1: return read_attribute();
    case 0x3c2: return 0x10;  // switch sense: a colour monitor
    case 0x3c4: return registers_.sr_index;
    case 0x3c5: return read_sequencer(registers_.sr_index);
    case 0x3c6: return read_pixel_mask();
    case 0x3c7: return registers_.dac_reading ? 3 : 0;
    case 0x3c8: return registers_.dac_index;
    case 0x3c9: return read_dac();
    case 0x3ca: return registers_.feature;
    case 0x3cc: return registers_.miscellaneous;
    case 0x3ce: return registers_.gr_index;
    case 0x3cf: return read_graphics(registers_.gr_index);
    case 0x3b4:
    case 0x3d4: return registers_.cr_index;
    case 0x3b5:
    case 0x3d5: return read_crtc(registers_.cr_index);
    case 0x3ba:
    case 0x3da: registers_.ar_data = false; return read_status();
    default: return 0xff;
  }
}

void VgaCore::write_port(u16 port, u8 value) {
  const bool colour = port >= 0x3d0;
  if ((port < 0x3c0 || colour) && colour != colour_ports()) return;
  switch (port) {
    case 0x3c0: return write_attribute(value);
    case 0x3c2:
      registers_.miscellaneous = value & 0xef;
      changed_ = true;
      return update_window();
    case 0x3c4: registers_.sr_index = value & 0x1f; return;
    case 0x3c5: return write_sequencer(registers_.sr_index, value);
    case 0x3c6:
      write_pixel_mask(value);
      changed_ = true;
      return;
    case 0x3c7:
    case 0x3c8:
      registers_.dac_index = value;
      registers_.dac_component = 0;
      registers_.dac_reading = port == 0x3c7;
      return;
    case 0x3c9: return write_dac(value);
    case 0x3ce: registers_.gr_index = value & 0x3f; return;
    case 0x3cf: return write_graphics(registers_.gr_index, value);
    case 0x3b4:
    case 0x3d4: registers_.cr_index = value & 0x3f; return;
    case 0x3b5:
    case 0x3d5: return write_crtc(registers_.cr_index, value);
    case 0x3ba:
    case 0x3da: registers_.feature = value & 0x0b; return;
    default: return;
  }
}

u8 VgaCore::read_status() {
  const i64 in_frame = time_.now_ns() % kFrameNs;
  if (in_frame / kLineNs >= kShownLines) return 0x09;  // display disabled, vertical retrace
  return in_frame % kLineNs >= kLineNs * 4 / 5 ? 0x01 : 0x00;
}

u8 VgaCore::read_sequencer(u8 index) {
  return index < kSequencerBits.size() ? registers_.sr[index] : 0;
}

void VgaCore::write_sequencer(u8 index, u8 value) {
  if (index >= kSequencerBits.size()) return;
  registers_.sr[index] = value & kSequencerBits[index];
  changed_ = true;
  update_window();
}

u8 VgaCore::read_crtc(u8 index) { return index <= kLastCrtc ? registers_.cr[index] : 0; }

void VgaCore::write_crtc(u8 index, u8 value) {
  if (index > kLastCrtc) return;
  u8& target = registers_.cr[index];
  if (index <= crtc::kOverflow && (registers_.cr[crtc::kVerticalRetraceEnd] & crtc::kProtect)) {
    // But for bit 8 of the line compare.
    if (index == crtc::kOverflow) target = merge<u8>(target, value, 0x10);
  } else {
    target = value;
  }
  changed_ = true;
}

u8 VgaCore::read_graphics(u8 index) {
  return index < kGraphicsBits.size() ? registers_.gr[index] : 0;
}

void VgaCore::write_graphics(u8 index, u8 value) {
  if (index >= kGraphicsBits.size()) return;
  registers_.gr[index] = value & kGraphicsBits[index];
  if (index == graphics::kMode || index == graphics::kMiscellaneous) changed_ = true;
  update_window();
}

u8 VgaCore::read_attribute() const {
  const u8 index = registers_.ar_index & 0x1f;
  return index < kAttributeBits.size() ? registers_.ar[index] : 0;
}

void VgaCore::write_attribute(u8 value) {
  if (!std::exchange(registers_.ar_data, !registers_.ar_data)) {
    if ((registers_.ar_index ^ value) & attribute::kPaletteSource) changed_ = true;
    registers_.ar_index = value & 0x3f;
    return;
  }
  const u8 index = registers_.ar_index & 0x1f;
  if (index >= kAttributeBits.size()) return;
  // The palette takes writes only while the screen does not use it.
  if (index < 16 && (registers_.ar_index & attribute::kPaletteSource)) return;
  registers_.ar[index] = value & kAttributeBits[index];
  changed_ = true;
}

u8 VgaCore::read_dac() {
  const u8 value = registers_.dac[size_t{registers_.dac_index} * 3 + registers_.dac_component % 3];
  if (++registers_.dac_component >= 3) {
    registers_.dac_component = 0;
    registers_.dac_index++;
  }
  return value;
}

// An entry changes when its third component is written.
void VgaCore::write_dac(u8 value) {
  registers_.dac_latch[registers_.dac_component % 3] = wide_dac_ ? value : value & 0x3f;
  if (++registers_.dac_component < 3) return;
  registers_.dac_component = 0;
  for (size_t i = 0; i < 3; i++)
    registers_.dac[size_t{registers_.dac_index} * 3 + i] = registers_.dac_latch[i];
  registers_.dac_index++;
  changed_ = true;
}

u32 VgaCore::colour(u8 index) const {
  const size_t at = size_t{static_cast<u8>(index & registers_.dac_mask)} * 3;
  u32 rgb = 0;
  for (size_t i = 0; i < 3; i++) {
    const u32 value = registers_.dac[at + i];
    rgb = rgb << 8 | (wide_dac_ ? value : ((value << 2 | value >> 4) & 0xff));
  }
  return rgb;
}

void VgaCore::set_wide_dac(bool on) {
  if (std::exchange(wide_dac_, on) == on) return;
  // The entries keep their colours.
  for (u8& value : registers_.dac)
    value = on ? static_cast<u8>(value << 2 | value >> 4) : static_cast<u8>(value >> 2);
  changed_ = true;
}

// The window

void VgaCore::set_bank(u64 offset, bool linear) {
  bank_ = offset;
  linear_ = linear;
  update_window();
}

std::optional<u64> VgaCore::direct_window() const {
  if (!(registers_.miscellaneous & 2)) return std::nullopt;
  if (((registers_.gr[graphics::kMiscellaneous] >> 2) & 3) > 1) return std::nullopt;
  if (bank_ + direct_.last() >= vram_->size()) return std::nullopt;
  if (linear_) return bank_;
  const bool chained = registers_.sr[sequencer::kMemoryMode] & sequencer::kChain4;
  const bool all_planes = registers_.sr[sequencer::kMapMask] == 0x0f;
  const bool no_logic = (registers_.gr[graphics::kMode] & 0x0b) == 0 &&
                        registers_.gr[graphics::kEnableSetReset] == 0 &&
                        registers_.gr[graphics::kDataRotate] == 0 &&
                        registers_.gr[graphics::kBitMask] == 0xff;
  if (chained && all_planes && no_logic) return bank_;
  return std::nullopt;
}

void VgaCore::update_window() {
  const std::optional<u64> at = direct_window();
  if (at) direct_.set_alias_offset(*at);
  direct_.set_enabled(at.has_value());
}

std::optional<u32> VgaCore::window_offset(u32 offset) const {
  if (!(registers_.miscellaneous & 2)) return std::nullopt;
  const auto part = [&](u32 first, u32 size) -> std::optional<u32> {
    if (offset < first || offset - first >= size) return std::nullopt;
    return offset - first;
  };
  switch ((registers_.gr[graphics::kMiscellaneous] >> 2) & 3) {
    case 0: return part(0, 0x20000);
    case 1: return part(0, 0x10000);
    case 2: return part(0x10000, 0x8000);
    default: return part(0x18000, 0x8000);
  }
}

u64 VgaCore::read_window(Access access) {
  const std::optional<u32> offset = window_offset(static_cast<u32>(access.offset));
  if (!offset) return 0xff;
  u8 value = 0;
  return read_extended(*offset, value) ? value : read_planes(*offset);
}

void VgaCore::write_window(Access access, u64 value) {
  const std::optional<u32> offset = window_offset(static_cast<u32>(access.offset));
  if (!offset || write_extended(*offset, static_cast<u8>(value))) return;
  write_planes(*offset, static_cast<u8>(value));
}

u8 VgaCore::read_planes(u32 offset) {
  const u64 mask = vram_mask();
  if (linear_ || (registers_.sr[sequencer::kMemoryMode] & sequencer::kChain4)) {
    const u64 at = (bank_ + offset) & mask;
    registers_.latch = vram_->load<u32>(at & ~u64{3} & mask);
    return vram_->load<u8>(at);
  }
  unsigned plane = registers_.gr[graphics::kReadMap];
  if (registers_.gr[graphics::kMode] & graphics::kOddEven) {
    plane = (plane & 2) | (offset & 1);
    offset &= ~1u;
    // Odd and even addresses share a place: the line of 16-bit characters lies straight.
    offset >>= 1;
  }
  registers_.latch = vram_->load<u32>((bank_ + u64{offset} * 4) & mask & ~u64{3});
  if (!(registers_.gr[graphics::kMode] & graphics::kReadCompare))
    return static_cast<u8>(registers_.latch >> (8 * plane));
  u8 equal = 0xff;
  for (unsigned p = 0; p < 4; p++) {
    if (!(registers_.gr[graphics::kColourDontCare] & (1u << p))) continue;
    const u8 bits = static_cast<u8>(registers_.latch >> (8 * p));
    equal &= registers_.gr[graphics::kColourCompare] & (1u << p) ? bits : static_cast<u8>(~bits);
  }
  return equal;
}

void VgaCore::write_planes(u32 offset, u8 value) {
  const u64 mask = vram_mask();
  const VgaRegisters& r = registers_;
  if (linear_) return vram_->store<u8>((bank_ + offset) & mask, value);
  unsigned planes = r.sr[sequencer::kMapMask];
  if (r.sr[sequencer::kMemoryMode] & sequencer::kChain4) {
    planes &= 1u << (offset & 3);
    offset >>= 2;
  } else if (!(r.sr[sequencer::kMemoryMode] & sequencer::kSequential)) {
    planes &= offset & 1 ? 0x0a : 0x05;
    offset >>= 1;
  }
  u32 data = 0;
  u32 bit_mask = repeat(r.gr[graphics::kBitMask]);
  const u32 set_reset = spread(r.gr[graphics::kSetReset]);
  const unsigned rotate = r.gr[graphics::kDataRotate] & 7;
  switch (r.gr[graphics::kMode] & 3) {
    case 0: {
      const u32 enabled = spread(r.gr[graphics::kEnableSetReset]);
      data = (repeat(rotate_right(value, rotate)) & ~enabled) | (set_reset & enabled);
      break;
    }
    case 1:
      data = r.latch;
      bit_mask = ~0u;
      break;
    case 2: data = spread(value & 0x0f); break;
    case 3:
      data = set_reset;
      bit_mask &= repeat(rotate_right(value, rotate));
      break;
  }
  if ((r.gr[graphics::kMode] & 3) != 1) {
    switch ((r.gr[graphics::kDataRotate] >> 3) & 3) {
      case 1: data &= r.latch; break;
      case 2: data |= r.latch; break;
      case 3: data ^= r.latch; break;
      default: break;
    }
  }
  data = (data & bit_mask) | (r.latch & ~bit_mask);
  const u64 at = (bank_ + u64{offset} * 4) & mask & ~u64{3};
  const u32 plane_mask = spread(planes);
  if (planes == kFontPlane) changed_ = true;
  vram_->store<u32>(at, merge<u32>(vram_->load<u32>(at), data, plane_mask));
}

}  // namespace menura
