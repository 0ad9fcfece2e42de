#include "hw/ide/piix3_ide.h"

#include "base/bytes.h"

namespace menura {

namespace {

constexpr u16 kCommandPorts[] = {0x1f0, 0x170};
constexpr u16 kControlPorts[] = {0x3f6, 0x376};
constexpr unsigned kBmiba = 4;
constexpr unsigned kCommandRegister = 0x04;
constexpr u16 kCommandIo = 0x0001;

// IDETIM of the primary and secondary channel: bit 15 lets the channel decode its ports.
constexpr unsigned kIdetim[] = {0x40, 0x42};
constexpr u16 kIdeDecodeEnable = 0x8000;
constexpr ConfigRegister kRegisters[] = {
    {.offset = 0x40, .size = 2, .name = "idetim0", .reset = kIdeDecodeEnable, .writable = 0xf3ff},
    {.offset = 0x42, .size = 2, .name = "idetim1", .reset = kIdeDecodeEnable, .writable = 0xf3ff},
    {.offset = 0x44, .size = 1, .name = "sidetim", .writable = 0xff},
};

}  // namespace

Piix3Ide::Piix3Ide(std::string id, std::array<IrqLine, kChannels> irqs, Region& io, Device* parent)
    : PciFunction(std::move(id), {.vendor = 0x8086, .device = 0x7010, .class_code = 0x010180},
                  parent),
      io_(io),
      bus_master_region_(Region::mmio("piix3-bmide", 16, bus_master_window_, {.handler_max = 4})) {
  config().define(kRegisters);
  add_bar(kBmiba, BarKind::Io, bus_master_region_).value();
  const IdeDma dma{.read = [this](GuestAddr at, Bytes to) { return dma_read(at, to); },
                   .write = [this](GuestAddr at, ConstBytes from) { return dma_write(at, from); }};
  for (unsigned n = 0; n < kChannels; n++)
    channels_[n] = std::make_unique<IdeChannel>(format("ide{}", n), irqs[n], dma);
}

Piix3Ide::~Piix3Ide() {
  for (const std::unique_ptr<IdeChannel>& channel : channels_) {
    if (channel->command_block().mapped()) io_.unmap(channel->command_block());
    if (channel->control_block().mapped()) io_.unmap(channel->control_block());
  }
}

void Piix3Ide::config_written(unsigned, unsigned) { update_ports(); }

void Piix3Ide::update_ports() {
  for (unsigned n = 0; n < kChannels; n++) {
    const bool decodes = (config().get16(kCommandRegister) & kCommandIo) &&
                         (config().get16(kIdetim[n]) & kIdeDecodeEnable);
    const auto place = [&](Region& region, u16 port) {
      if (decodes && !region.mapped()) io_.map(port, region);
      if (!decodes && region.mapped()) io_.unmap(region);
    };
    place(channels_[n]->command_block(), kCommandPorts[n]);
    place(channels_[n]->control_block(), kControlPorts[n]);
  }
}

void Piix3Ide::reset_chip(ResetKind) {
  for (const std::unique_ptr<IdeChannel>& channel : channels_) channel->reset();
  update_ports();
}

void Piix3Ide::describe_chip(StateVisitor& v) {
  v.field("primary", *channels_[0]);
  v.field("secondary", *channels_[1]);
}

Result<void> Piix3Ide::restored_chip() {
  update_ports();
  for (const std::unique_ptr<IdeChannel>& channel : channels_) TRY(channel->restored());
  return {};
}

u64 Piix3Ide::read_bus_master(Access access) {
  return channels_[access.offset / 8]->read_bus_master({access.offset % 8, access.size});
}

void Piix3Ide::write_bus_master(Access access, u64 value) {
  channels_[access.offset / 8]->write_bus_master({access.offset % 8, access.size}, value);
}

}  // namespace menura
