// AcpiPciHotplug: PCI cards come and go on a bus without slots of its own: ports by which the DSDT's
// methods learn of them, and by which it ejects them.
//
// Owner: the board. Threads: under the machine lock. Source: the public description of "ACPI PCI hotplug"
// ports; ACPI 6.4 §6.3 (_EJ0, Notify). AE00h: slots whose card has come; AE04h: those asked to go (each
// is cleared by reading it); AE08h: a bit written ejects its slot, if it was
// asked to go; AE0Ch: slots that can be ejected.
// Example: `AcpiPciHotplug hotplug("acpi-pci-hotplug", bus, raise_gpe, ejected);`
#pragma once

#include <functional>

#include "hw/core/device.h"
#include "hw/core/window.h"
#include "hw/pci/pci_bus.h"

namespace menura {

class AcpiPciHotplug final : public Device, private PciHotplug {
 public:
  static constexpr u16 kPorts = 0xae00;

  AcpiPciHotplug(std::string id, PciBus& bus, std::function<void()> raise_event,
                 std::function<void(PciFunction&)> ejected,
                 std::function<bool(PciFunction&)> removable);
  ~AcpiPciHotplug() override;
  std::string_view type() const override { return "acpi-pci-hotplug"; }
  Region& ports() { return ports_; }

  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;

 private:
  u64 read(Access access);
  void write(Access access, u64 value);
  void plugged(PciFunction& function) override;
  bool request_eject(PciFunction& function) override;
  void eject(u32 slots);
  u32 removable_slots() const;

  // Wiring
  PciBus& bus_;
  std::function<void()> raise_event_;
  std::function<void(PciFunction&)> ejected_;
  std::function<bool(PciFunction&)> removable_;
  Window<AcpiPciHotplug> window_{*this, &AcpiPciHotplug::read, &AcpiPciHotplug::write};
  Region ports_ = Region::mmio("acpi-pci-hotplug", 16, window_,
                               {.valid_min = 4, .valid_unaligned = false, .handler_min = 4});

  // State
  u32 come_ = 0;
  u32 going_ = 0;
  u32 asked_ = 0;  // to go, whether the guest knows it yet or not
};

}  // namespace menura
