// Piix3: the 82371SB PCI ISA IDE Xcelerator, function 0: the ISA bridge 8086:7000 of device 1.
//
// Owner: the board. Threads: under the machine lock. Source: Intel 82371FB/82371SB data sheet 290550.
// Routes PIRQA..PIRQD to ISA interrupts and takes the reset control port. The firmware makes the
// interrupts it chose level-sensitive in the 8259A's ELCR. Example:
//   Piix3 piix3("piix3", isa_irqs, [&](Piix3::Reset kind) { machine.request_reset(kind); });
//   pmc.root_bus().add(piix3, PciBus::devfn(1, 0)).value();   pmc.set_pirqs(piix3);
//   pmc.set_reset_control(piix3.reset_control());
// Deviations: X-bus chip selects, ISA recovery, DMA aliasing, motherboard interrupt and DMA routing and
// the SMM timers are storage; APICBASE is read-only (the board fixes the IOAPIC's address).
#pragma once

#include <array>
#include <functional>

#include "hw/pci/pci_function.h"
#include "hw/pci/reset_control.h"

namespace menura {

class Piix3 final : public PciFunction, public IrqSink {
 public:
  using Reset = ResetControl::Kind;

  // isa_irqs[n] is raised while a PIRQ routed to ISA interrupt n is active; the board ORs it with the
  // ISA device's own.
  Piix3(std::string id, const std::array<IrqLine, 16>& isa_irqs,
        std::function<void(Reset)> request_reset, Device* parent = nullptr);
  std::string_view type() const override { return "PIIX3"; }

  // PIRQA (pin 0) to PIRQD (3).
  IrqStatus set_irq(unsigned pin, bool level) override;
  // The ISA interrupt that a PIRQ is routed to, -1 when to none.
  int route(unsigned pirq) const;
  ResetControl& reset_control() { return rcr_; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  bool isa_level(unsigned irq) const;
  void drive_isa_irqs();

  // Wiring
  std::array<IrqLine, 16> isa_irqs_;

  // State
  u8 pirq_levels_ = 0;
  ResetControl rcr_;
};

}  // namespace menura
