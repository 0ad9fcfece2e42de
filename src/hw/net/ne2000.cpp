#include "hw/net/ne2000.h"

#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kPciBuffer = 32 * KiB;
constexpr u32 kIsaBuffer = 16 * KiB;
constexpr PciIdentity kIdentity = {.vendor = 0x10ec,
                                   .device = 0x8029,
                                   .class_code = 0x020000,
                                   .subsystem_vendor = 0x1af4,
                                   .subsystem = 0x1100};

}  // namespace

Ne2kPci::Ne2kPci(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue&,
                 OptionRom rom)
    : PciFunction(std::move(id), kIdentity),
      cable_(cable),
      rom_(std::move(rom)),
      nic_({.mac = mac, .buffer = kPciBuffer, .rtl8029 = true}, cable,
           [this](bool level) { set_intx(level); }),
      ports_(Region::mmio("ne2k-ports", Dp8390::kPorts, nic_, {.handler_max = 4})) {
  add_bar(0, BarKind::Io, ports_).value();
  if (rom_) add_rom(rom_.region()).value();
  set_interrupt_pin(IntxPin::A);
}

void Ne2kPci::config_written(unsigned, unsigned) { cable_.accept_input(); }

Ne2kIsa::Ne2kIsa(std::string id, const MacAddress& mac, NetBackend& cable, IrqLine irq)
    : Device(std::move(id)),
      irq_(irq),
      nic_({.mac = mac, .buffer = kIsaBuffer}, cable, [this](bool level) { irq_.set(level); }),
      ports_(Region::mmio("ne2k-ports", Dp8390::kPorts, nic_, {.handler_max = 4})) {}

}  // namespace menura
