// RDMSR and WRMSR: the model-specific registers, their places in State, and their rules.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 4, AMD APM vol. 2 appendix A.
// The caller has checked CPL 0. MSRs whose feature the CPUID model lacks, unknown ones and reserved
// bits are #GP(0); a fault leaves the state as it was.
// Example: `u64 value = TRY(read_msr(state, bus, static_cast<u32>(state.gpr[Rcx])));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

OrFault<u64> read_msr(State& state, CpuBus& bus, u32 index);
OrFault<void> write_msr(State& state, CpuBus& bus, u32 index, u64 value);

}  // namespace menura::x86
