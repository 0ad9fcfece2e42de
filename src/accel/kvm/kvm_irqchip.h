// KvmIrqchip: the interrupt chips in the kernel (all of them, or the LAPICs only): lines, messages,
// routes and eventfds.
//
// Owner: the accelerator. Threads: under the machine lock; eoi() takes a vCPU's report. The GSI
// routing table is the board's GsiRouting; this mirrors it. In split mode the IOAPIC is in menura:
// its entries become the routes of GSIs 0-23, by which KVM knows which EOIs to report.
// Example: `accel->kernel_irqchip()->mirror(routing, nullptr);  IrqLine irq{*chip, 4};`
#pragma once

#include <map>
#include <memory>

#include "accel/kvm/kvm_vm.h"
#include "hw/intc/gsi_routing.h"
#include "hw/intc/ioapic.h"

namespace menura {

class KvmIrqchip final : public KernelIrqchip {
 public:
  explicit KvmIrqchip(KvmVm& vm) : vm_(vm) {}

  IrqStatus set_irq(unsigned gsi, bool level) override;
  IrqStatus send_msi(const MsiMessage& message) override;
  // By a GSI of its own and an irqfd; null where this KVM has none.
  std::unique_ptr<MsiRoute> make_route(int fd) override;
  void mirror(GsiRouting& routing, Ioapic* ioapic) override;
  Result<void> attach_irqfd(unsigned gsi, int fd, int resample_fd) override;
  void detach_irqfd(unsigned gsi, int fd) override;

  // An in-kernel LAPIC ended a level-triggered interrupt of the IOAPIC in menura.
  void eoi(u8 vector);
  size_t routes() const { return routes_; }  // entries in the kernel's table

 private:
  class EventRoute;
  void rebuild();

  // Wiring
  KvmVm& vm_;
  GsiRouting* routing_ = nullptr;
  Ioapic* ioapic_ = nullptr;

  // State
  size_t routes_ = 0;
  std::map<unsigned, int> resamples_;  // split mode: eventfds that hear of a GSI's end
};

}  // namespace menura
