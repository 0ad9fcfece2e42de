// Conversions between x86::State and the structures of KVM's vCPU ioctls. Pure functions.
//
// Owner: accel/kvm. Threads: any. What a KVM structure has and x86::State lacks is zero or neutral on
// the way in and ignored on the way out; callers that must keep it start from the kernel's copy.
// Source: linux/kvm.h; Intel SDM vol. 1 §13.4 for the XSAVE area.
// Example: `kvm_regs regs = to_regs(state);  from_regs(state, regs);`
#pragma once

#include "accel/kvm/kvm_abi.h"

#include "accel/kvm/kvm_system.h"
#include "base/types.h"
#include "cpu/x86/state.h"

namespace menura::kvm {

kvm_regs to_regs(const x86::State& state);
void from_regs(x86::State& state, const kvm_regs& regs);

// PDPTRs are not part of x86::State: flags 0 makes KVM load them from memory.
kvm_sregs2 to_sregs2(const x86::State& state);
void from_sregs2(x86::State& state, const kvm_sregs2& sregs);
// For kernels without KVM_CAP_SREGS2. The bitmap names an external interrupt in flight.
kvm_sregs to_sregs(const x86::State& state);
void from_sregs(x86::State& state, const kvm_sregs& sregs);

// For kernels without XSAVE: x87 and SSE only.
kvm_fpu to_fpu(const x86::State& state);
void from_fpu(x86::State& state, const kvm_fpu& fpu);

// Where this host's processor keeps the components that x86::State carries, in the standard (not
// compacted) form: offset 0 means that it has none such.
struct XsaveLayout {
  u32 avx = 0, opmask = 0, zmm_high = 0, zmm16 = 0, pkru = 0;
  static XsaveLayout of_host();
};
// The area is at least 4096 bytes. Only components that are not in their initial state are marked
// present, so a kernel that refuses a component never sees an unused one.
void to_xsave(const x86::State& state, const XsaveLayout& layout, Bytes area);
void from_xsave(x86::State& state, const XsaveLayout& layout, ConstBytes area);

kvm_debugregs to_debugregs(const x86::State& state);
void from_debugregs(x86::State& state, const kvm_debugregs& regs);

enum class Smm : bool { Absent, Present };
kvm_vcpu_events to_events(const x86::State& state, Smm smm);
void from_events(x86::State& state, const kvm_vcpu_events& events);

u32 to_mp_state(x86::Activity activity);
x86::Activity from_mp_state(u32 mp_state);

}  // namespace menura::kvm
