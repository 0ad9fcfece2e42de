// PcieRootPort: a port of a PCI Express root complex: a bridge whose secondary bus is a link to one
// device, in a slot.
//
// Owner: the machine. Threads: under the machine lock. Source: PCI Express Base 3.0 §7.2 and §7.8. The
// port that virtual machines have, of no chip maker in particular. Example:
//   PcieRootPort port("rp1", {.number = 1, .slot = 1});   root.add(port, PciBus::devfn(2, 0)).value();
//   port.secondary_bus()->add(card, PciBus::devfn(0, 0)).value();
// Deviations: no hot-plugging, power management events or error reports; the link is always up.
#pragma once

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_express.h"

namespace menura {

class PcieRootPort final : public PciBridge {
 public:
  static constexpr PciIdentity kIdentity{
      .vendor = 0x1b36, .device = 0x000c, .class_code = 0x060400};

  // The bus behind has the port's id.
  PcieRootPort(std::string id, const PciExpress::Port& port, Device* parent = nullptr)
      : PciBridge(id, id, kIdentity, parent), express_(*this, PciExpress::Type::RootPort, port) {
    set_interrupt_pin(IntxPin::A);
    secondary_bus()->make_point_to_point();
  }
  std::string_view type() const override { return "pcie-root-port"; }

 protected:
  void reset_chip(ResetKind kind) override {
    PciBridge::reset_chip(kind);
    express_.set_present(!secondary_bus()->functions().empty());
  }

 private:
  PciExpress express_;
};

}  // namespace menura
