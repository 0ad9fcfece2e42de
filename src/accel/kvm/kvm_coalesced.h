// KvmCoalesced: the VM's ring of queued writes (coalesced MMIO and PIO), delivered in order.
//
// Owner: the accelerator. Threads: under the machine lock; waiting() from any. Drained after each
// exit and before any register access, so that no device sees a later access first.
// Example: `if (ring.waiting()) { MachineLock::Guard guard(lock); ring.drain(); }`
#pragma once

#include "accel/kvm/kvm_abi.h"

#include "accel/kvm/kvm_vm.h"
#include "memory/address_space.h"

namespace menura {

class KvmCoalesced {
 public:
  KvmCoalesced(KvmVm& vm, AddressSpace& memory, AddressSpace& io)
      : vm_(vm), memory_(memory), io_(io) {}
  ~KvmCoalesced();
  KvmCoalesced(const KvmCoalesced&) = delete;
  KvmCoalesced& operator=(const KvmCoalesced&) = delete;

  // The ring lies in the pages of any vCPU: the first one brings it. No-op afterwards.
  Result<void> attach(const KvmFd& vcpu);
  bool waiting() const;
  void drain();
  u64 delivered() const { return delivered_; }  // writes since the start

 private:
  void deliver(const kvm_coalesced_mmio& write);

  // Wiring
  KvmVm& vm_;
  AddressSpace& memory_;
  AddressSpace& io_;
  std::atomic<kvm_coalesced_mmio_ring*> ring_{nullptr};

  // State
  bool draining_ = false;  // a delivery may ask for a drain itself
  u64 delivered_ = 0;
};

}  // namespace menura
