// KvmRegisters: one vCPU's registers, moved between the kernel and an x86::State in as few ioctls as
// the difference needs.
//
// Owner: the vCPU. Threads: the vCPU's own, or any while it is paused. Writing compares the kernel's
// structures built from both states, so that a debugger's change of RAX costs one ioctl and never
// touches the TSC. Example: `TRY(registers.read(state));  TRY(registers.write(wanted, &state));`
#pragma once

#include <vector>

#include "accel/kvm/kvm_msrs.h"
#include "accel/kvm/kvm_state.h"
#include "base/result.h"

namespace menura {

class KvmRegisters {
 public:
  // Whether the kernel keeps the LAPIC, and with it the activity (halted, waiting for SIPI).
  enum class Lapic : bool { User, Kernel };
  KvmRegisters(const KvmSystem& system, const KvmFd& vcpu, const KvmFd& vm, Lapic lapic);

  // Everything that the kernel keeps; leaves the rest of the state alone (the MCE capabilities, and
  // the activity with a user-space LAPIC).
  Result<void> read(x86::State& state);
  // `before` is what the kernel holds, null when that is unknown: then everything is written.
  Result<void> write(const x86::State& state, const x86::State* before);

  KvmMsrs& msrs() { return msrs_; }

 private:
  Result<void> write_system_registers(const x86::State& state);
  Result<void> write_fpu(const x86::State& state);

  // Configuration
  const KvmSystem& system_;
  const KvmFd& vcpu_;
  const Lapic lapic_;
  const kvm::XsaveLayout layout_;
  const size_t xsave_size_;  // bytes; 0: no XSAVE
  const kvm::Smm smm_;

  // State
  KvmMsrs msrs_;
  std::vector<std::byte> xsave_;
  kvm_sregs2 last_read_{};  // for the PDPTRs
};

}  // namespace menura
