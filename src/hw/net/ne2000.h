// Ne2kPci and Ne2kIsa: the NE2000 as a PCI card (Realtek RTL8029AS, 10ec:8029) and as the ISA card of
// 1989, both around a DP8390.
//
// Owner: the machine. Threads: under the machine lock. Source: see hw/net/dp8390.h. Example:
//   Ne2kIsa card("net0", mac, cable, irq);   io_root.map(0x300, card.ports());
#pragma once

#include "event/timer.h"
#include "hw/core/irq.h"
#include "hw/net/dp8390.h"
#include "hw/pci/option_rom.h"
#include "hw/pci/pci_function.h"

namespace menura {

class Ne2kPci final : public PciFunction {
 public:
  Ne2kPci(std::string id, const MacAddress& mac, NetBackend& cable, TimerQueue& time,
          OptionRom rom = {});
  std::string_view type() const override { return "ne2k_pci"; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind) override { nic_.reset(); }
  void describe_chip(StateVisitor& v) override { v.field("nic", nic_); }
  Result<void> restored_chip() override { return nic_.restored(); }

 private:
  // Wiring
  NetBackend& cable_;
  OptionRom rom_;
  // State
  Dp8390 nic_;
  // Wiring
  Region ports_;
};

class Ne2kIsa final : public Device {
 public:
  Ne2kIsa(std::string id, const MacAddress& mac, NetBackend& cable, IrqLine irq);
  std::string_view type() const override { return "ne2k_isa"; }
  Region& ports() { return ports_; }

  void reset(ResetKind) override { nic_.reset(); }
  void describe(StateVisitor& v) override { v.field("nic", nic_); }
  Result<void> restored() override {
    irq_.import(nic_.interrupt_level());
    return nic_.restored();
  }

 private:
  // Wiring
  IrqLine irq_;
  // State
  Dp8390 nic_;
  // Wiring
  Region ports_;
};

}  // namespace menura
