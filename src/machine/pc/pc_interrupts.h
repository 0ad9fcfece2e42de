// PcInterrupts: a PC's interrupt chips, wherever they live: in user space, in the kernel, or split
// between the two; one set of lines for the devices.
//
// Owner: PcBoard. Threads: under the machine lock.
//   user:   PIC, IOAPIC and local APICs are ours.
//   split:  PIC and IOAPIC are ours; the local APICs are the accelerator's and take messages.
//   kernel: all are the accelerator's; lines end in its GSIs.
// Example: `PcInterrupts irqs(machine);  irqs.build();  IrqLine com1 = irqs.isa(4);`
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "hw/intc/apic_bus.h"
#include "hw/intc/gsi_routing.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/irq_statistics.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"
#include "machine/machine.h"

namespace menura {

class PcInterrupts {
 public:
  static constexpr unsigned kIsaIrqs = 16;

  explicit PcInterrupts(Machine& machine) : machine_(machine) {}
  void build();

  // An ISA device's line.
  IrqLine isa(unsigned irq) { return IrqLine(*isa_or_[irq], kDevice); }
  // The PCI router's input to the same interrupt.
  IrqLine isa_from_pirq(unsigned irq) { return IrqLine(*isa_or_[irq], kPirq); }
  std::array<IrqLine, kIsaIrqs> pirq_targets();
  // All interrupts by GSI, past the ISA sharing.
  IrqStatistics& gsis() { return *statistics_; }
  const GsiRouting& routing() const { return *routing_; }
  MsiSink& msi() { return *msi_; }
  // Tells when a CPU has accepted IRQ0, where the chips are ours: a kernel's do not tell.
  void on_timer_taken(const std::function<void()>& notify);

  // What a vCPU is given; makes its LAPIC in user mode.
  void prepare_cpu(unsigned index, u32 apic_id, u64 tsc_hz, VcpuConfig& vcpu);
  void connect_cpu(unsigned index, CpuInterrupts& cpu);

  Pic* pic() { return pic_.get(); }
  Ioapic* ioapic() { return ioapic_.get(); }
  Lapic* lapic(unsigned index) { return index < lapics_.size() ? lapics_[index].get() : nullptr; }

 private:
  enum Input : unsigned { kDevice, kPirq };
  void build_user_chips(MsiSink& messages);
  void build_routing(GsiRouting::Chips chips);
  IrqStatus drive_intr(bool level);

  // Wiring
  Machine& machine_;
  std::unique_ptr<ApicBus> apic_bus_;
  std::unique_ptr<IrqFunction> intr_;
  std::unique_ptr<Pic> pic_;
  std::unique_ptr<Ioapic> ioapic_;
  std::unique_ptr<GsiRouting> routing_;
  std::vector<std::unique_ptr<Lapic>> lapics_;
  std::array<std::unique_ptr<IrqOr>, kIsaIrqs> isa_or_;
  IrqSink* gsis_ = nullptr;
  std::unique_ptr<IrqStatistics> statistics_;  // in front of gsis_
  MsiSink* msi_ = nullptr;
  CpuInterrupts* bootstrap_ = nullptr;  // split mode: takes the PIC's INTR
};

}  // namespace menura
