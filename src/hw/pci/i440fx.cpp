#include "hw/pci/i440fx.h"

#include "base/bits.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x1237, .class_code = 0x060000, .revision = 0x02};

constexpr unsigned kPam0 = 0x59;
constexpr unsigned kFdhc = 0x68;
constexpr unsigned kSmram = 0x72;

// §3.2 of the data sheet.
constexpr ConfigRegister kRegisters[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .reset = 0x0006, .writable = 0x0140},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0280, .w1c = 0xf100},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "mlt", .writable = 0xf8},
    {.offset = pci::kInterruptLine, .name = "reserved"},
    {.offset = 0x50, .size = 2, .name = "pmccfg", .writable = 0x3ff8},
    {.offset = 0x52, .name = "deturbo", .writable = 0xff},
    {.offset = 0x53, .name = "dbc", .reset = 0x80, .writable = 0xff},
    {.offset = 0x54, .name = "axc", .writable = 0xff},
    {.offset = 0x55, .size = 2, .name = "drt", .writable = 0xffff},
    {.offset = 0x57, .name = "dramc", .reset = 0x01, .writable = 0xff},
    {.offset = 0x58, .name = "dramt", .reset = 0x10, .writable = 0xff},
    {.offset = 0x59, .name = "pam0", .writable = 0x30},
    {.offset = 0x5a, .name = "pam1", .writable = 0x33},
    {.offset = 0x5b, .name = "pam2", .writable = 0x33},
    {.offset = 0x5c, .name = "pam3", .writable = 0x33},
    {.offset = 0x5d, .name = "pam4", .writable = 0x33},
    {.offset = 0x5e, .name = "pam5", .writable = 0x33},
    {.offset = 0x5f, .name = "pam6", .writable = 0x33},
    {.offset = 0x60, .size = 4, .name = "drb0_3", .reset = 0x01010101, .writable = 0xffff'ffff},
    {.offset = 0x64, .size = 4, .name = "drb4_7", .reset = 0x01010101, .writable = 0xffff'ffff},
    {.offset = kFdhc, .name = "fdhc", .writable = 0xc0},
    {.offset = 0x70, .name = "mtt", .writable = 0xff},
    {.offset = 0x71, .name = "clt", .reset = 0x10, .writable = 0xff},
    {.offset = kSmram, .name = "smram", .reset = smram::kBase, .writable = smram::kWritable},
    {.offset = 0x90, .name = "errcmd", .writable = 0xff},
    {.offset = 0x91, .name = "errsts", .w1c = 0x11},
};

}  // namespace

I440fx::I440fx(std::string id, const HostBridgeWiring& wiring, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      root_("pci.0", wiring, &I440fx::pirq_of),
      segments_(this->id(), wiring, {.pam0 = kPam0, .smram = kSmram}) {
  config().define(kRegisters);
  root_bus().add(*this, PciBus::devfn(0, 0)).value();
  segments_.follow(config(), hole());
}

// HEN; its fourth value is reserved.
HostSegments::Hole I440fx::hole() const {
  const auto value = bits(config().get8(kFdhc), 7, 6);
  return value <= 2 ? static_cast<HostSegments::Hole>(value) : HostSegments::Hole::None;
}

void I440fx::config_written(unsigned offset, unsigned size) {
  if (offset > kSmram || offset + size <= kPam0) return;
  segments_.written(config(), hole());
}

void I440fx::reset_chip(ResetKind) {
  root_.config_ports().reset();
  segments_.follow(config(), hole());
}

void I440fx::describe_chip(StateVisitor& v) { v.field("config_ports", root_.config_ports()); }

Result<void> I440fx::restored_chip() {
  segments_.follow(config(), hole());
  return {};
}

}  // namespace menura
