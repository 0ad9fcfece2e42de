// KvmIoEvents: doorbells (ioeventfds) and coalesced ranges of an address space, mirrored into KVM.
//
// Owner: the accelerator, one for "memory" and one for "io", as their listeners. Threads: under the
// machine lock. What KVM cannot take (too many, or a width it does not know) stays with the address
// space, which signals the descriptor itself at the price of an exit.
// Example: `KvmIoEvents ports(vm, KvmIoEvents::Space::Ports);  io.add_listener(ports);`
#pragma once

#include "accel/kvm/kvm_vm.h"
#include "memory/address_space.h"

namespace menura {

class KvmIoEvents final : public MemoryListener {
 public:
  enum class Space : u8 { Memory, Ports };
  KvmIoEvents(KvmVm& vm, Space space) : vm_(vm), space_(space) {}

  void changed(const FlatView& before, const FlatView& after) override;
  // Those now in the kernel.
  const std::vector<FlatIoEvent>& installed() const { return installed_; }

 private:
  bool set_event(const FlatIoEvent& event, bool assign);
  void set_zone(const FlatCoalesced& zone, bool add);
  bool can_have(const FlatIoEvent& event) const;

  // Wiring
  KvmVm& vm_;
  const Space space_;

  // State
  std::vector<FlatIoEvent> installed_;
};

}  // namespace menura
