// PcieRootPort: a port of a PCI Express root complex: a bridge whose secondary bus is a link to one
// device, in a slot that takes and gives devices while the machine runs.
//
// Owner: the machine. Threads: under the machine lock. Source: PCI Express Base 3.0 §6.7 (hot-plugging),
// §7.2 and §7.8. The port that virtual machines have, of no chip maker in particular. Example:
//   PcieRootPort port("rp1", {.number = 1, .slot = 1}, ejected);   root.add(port, PciBus::devfn(2, 0)).value();
//   port.secondary_bus()->add(card, PciBus::devfn(0, 0)).value();
// Deviations: no power management events or error reports. A card whose slot is powered off and whose
// power indicator is off goes.
#pragma once

#include <functional>

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_express.h"
#include "hw/pci/pci_msi.h"

namespace menura {

class PcieRootPort final : public PciBridge, private PciHotplug {
 public:
  static constexpr PciIdentity kIdentity{
      .vendor = 0x1b36, .device = 0x000c, .class_code = 0x060400};
  // Called for each function that left its slot: nobody drives it any more.
  using Ejected = std::function<void(PciFunction&)>;

  // The bus behind has the port's id.
  PcieRootPort(std::string id, const PciExpress::Port& port, Ejected ejected = {},
               Device* parent = nullptr);
  std::string_view type() const override { return "pcie-root-port"; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  Result<void> restored_chip() override;

 private:
  void plugged(PciFunction& function) override;
  bool request_eject(PciFunction& function) override;
  bool occupied();
  bool powered_off() const;
  void eject();
  bool wants_interrupt() const;
  void update_interrupt();

  // Wiring
  PciExpress express_;
  PciMsi msi_{*this, {.vectors = 1, .maskable = false}};
  Ejected ejected_;

  // Derived from configuration space
  bool was_off_ = false;    // before the write in progress
  bool interrupt_ = false;  // an enabled event is not cleared yet
};

}  // namespace menura
