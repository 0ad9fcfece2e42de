#include "hw/display/vga_card.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr PciIdentity kVga{.vendor = 0x1234,
                           .device = 0x1111,
                           .class_code = 0x030000,
                           .revision = 2,
                           .subsystem_vendor = 0x1af4,
                           .subsystem = 0x1100};
constexpr PciIdentity kPlain{.vendor = 0x1234,
                             .device = 0x1111,
                             .class_code = 0x038000,
                             .revision = 2,
                             .subsystem_vendor = 0x1af4,
                             .subsystem = 0x1100};

constexpr u16 kVbePorts = 0x1ce;
constexpr u64 kRegisters = 4 * KiB;
constexpr u64 kEdidEnd = 0x400;
constexpr u64 kVgaFirst = 0x400, kVgaEnd = 0x420;
constexpr u64 kVbeFirst = 0x500, kVbeEnd = 0x500 + 2 * Vbe::kCount;
constexpr u64 kExtended = 0x600, kByteOrder = 0x604, kExtendedEnd = 0x608;
constexpr u32 kExtendedSize = 8;
constexpr u32 kLittle = 0x1e1e1e1e;

}  // namespace

VgaCard::VgaCard(std::string id, const Config& config, const VgaWiring& wiring,
                 std::shared_ptr<RamBlock> vram, std::shared_ptr<RamBlock> rom, Device* parent)
    : PciFunction(id, config.legacy == Legacy::Yes ? kVga : kPlain, parent),
      config_(config),
      edid_(edid(config.mode)),
      wiring_(wiring),
      vram_(std::move(vram)),
      framebuffer_(Region::ram(id + "-vram", vram_)),
      registers_region_(Region::mmio(id + "-registers", kRegisters, registers_window_)),
      vbe_ports_(Region::mmio(id + "-vbe", 4, vbe_window_, {.handler_max = 2})),
      display_(id, *this),
      vbe_(
          vram_->size(), [this] { vbe_changed(); }, [this](u64 bytes) { clear_memory(bytes); }) {
  add_bar(0, BarKind::Memory32Prefetchable, framebuffer_).value();
  add_bar(2, BarKind::Memory32, registers_region_).value();
  if (rom) {
    rom_.reset(new Region(Region::rom(id + "-rom", std::move(rom))));
    add_rom(*rom_).value();
  }
  if (config_.legacy == Legacy::Yes) {
    vga_.emplace(id, framebuffer_, wiring_.time);
    vga_->map(wiring_.io, wiring_.memory);
    wiring_.io.map(kVbePorts, vbe_ports_);
  }
  wiring_.displays.add(display_);
}

VgaCard::~VgaCard() {
  wiring_.displays.remove(display_);
  if (vbe_ports_.mapped()) wiring_.io.unmap(vbe_ports_);
}

void VgaCard::reset_chip(ResetKind) {
  vbe_.reset();
  if (vga_) vga_->reset();
  vbe_changed();
}

void VgaCard::describe_chip(StateVisitor& v) {
  v.field("vbe", vbe_);
  if (vga_) vga_->describe(v);
}

Result<void> VgaCard::restored_chip() {
  vbe_.restored();
  if (vga_) vga_->restored(vbe_.enabled() && vbe_.wide_dac());
  vbe_changed();
  return {};
}

void VgaCard::vbe_changed() {
  all_changed_ = true;
  if (!vga_) return;
  const bool planar = vbe_.bits() == 4;
  vga_->set_wide_dac(vbe_.enabled() && vbe_.wide_dac());
  vga_->set_bank(vbe_.enabled() ? vbe_.bank() * (planar ? 4 : 1) : 0, vbe_.enabled() && !planar);
}

void VgaCard::clear_memory(u64 bytes) { vram_->fill(0, bytes, std::byte{0}); }

// Registers

u64 VgaCard::read_vbe_port(Access access) {
  return access.offset == 0 ? vbe_.index() : vbe_.read(vbe_.index());
}

void VgaCard::write_vbe_port(Access access, u64 value) {
  if (access.offset == 0)
    vbe_.set_index(static_cast<u16>(value));
  else
    vbe_.write(vbe_.index(), static_cast<u16>(value));
}

u8 VgaCard::read_register(u64 offset) {
  if (offset < kEdidEnd) return config_.edid && offset < edid_.size() ? edid_[offset] : 0;
  if (offset < kVgaEnd)
    return vga_ ? vga_->read_port(static_cast<u16>(0x3c0 + offset - kVgaFirst)) : 0xff;
  if (offset >= kVbeFirst && offset < kVbeEnd)
    return static_cast<u8>(vbe_.read(static_cast<unsigned>(offset - kVbeFirst) / 2) >>
                           (8 * (offset & 1)));
  if (offset >= kByteOrder && offset < kExtendedEnd) return kLittle & 0xff;
  if (offset >= kExtended && offset < kByteOrder)
    return static_cast<u8>(kExtendedSize >> (8 * (offset - kExtended)));
  return 0;
}

u64 VgaCard::read_registers(Access access) {
  u64 value = 0;
  for (unsigned i = 0; i < access.size; i++)
    value |= u64{read_register(access.offset + i)} << (8 * i);
  return value;
}

void VgaCard::write_registers(Access access, u64 value) {
  if (access.offset >= kVgaFirst && access.offset + access.size <= kVgaEnd) {
    if (!vga_) return;
    for (unsigned i = 0; i < access.size; i++)
      vga_->write_port(static_cast<u16>(0x3c0 + access.offset + i - kVgaFirst),
                       static_cast<u8>(value >> (8 * i)));
    return;
  }
  if (access.offset < kVbeFirst || access.offset % 2 || access.size < 2) return;
  for (unsigned i = 0; i < access.size && access.offset + i < kVbeEnd; i += 2)
    vbe_.write(static_cast<unsigned>(access.offset + i - kVbeFirst) / 2,
               static_cast<u16>(value >> (8 * i)));
}

// The picture

void VgaCard::watched(bool on) {
  watched_ = on;
  all_changed_ = true;
  framebuffer_.track_dirty(DirtyClient::Display, on);
}

void VgaCard::invalidate() { all_changed_ = true; }

void VgaCard::refresh(Display& display) {
  if (watched_ && wiring_.sync_dirty) wiring_.sync_dirty();
  DirtyPages pages = watched_ ? DirtyPages::take(*vram_) : DirtyPages::everything();
  if (std::exchange(all_changed_, false)) pages = DirtyPages::everything();
  const bool blank = vga_ && !(vga_->registers().ar_index & attribute::kPaletteSource);
  if (!vbe_.enabled() || vbe_.bits() == 4 || blank) {
    linear_painter_.forget();
    if (vga_) return vga_painter_.paint(*vga_, display, pages);
    display.resize(640, 480);
    return;
  }
  vga_painter_.forget();
  LinearPainter::Palette palette{};
  if (vga_) {
    if (vga_->take_changed() && vbe_.bits() == 8) pages = DirtyPages::everything();
    for (unsigned i = 0; i < palette.size(); i++) palette[i] = vga_->colour(static_cast<u8>(i));
  }
  linear_painter_.paint({.width = vbe_.width(),
                         .height = vbe_.height(),
                         .bits = vbe_.bits(),
                         .pitch = vbe_.pitch(),
                         .start = vbe_.start()},
                        *vram_, palette, display, pages);
}

std::optional<TextScreen> VgaCard::text() {
  if (!vga_ || vbe_.enabled()) return std::nullopt;
  return VgaPainter::text(*vga_);
}

}  // namespace menura
