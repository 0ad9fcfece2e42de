// Model-specific registers: reads and writes with their checks.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 4; AMD APM vol. 2 appendix A.
// Example: `u64 value = TRY(read_msr(state, bus, index));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// Unknown registers are #GP(0), but for a list that operating systems read without asking.
OrFault<u64> read_msr(State& state, CpuBus& bus, u32 index);
OrFault<void> write_msr(State& state, CpuBus& bus, u32 index, u64 value);

}  // namespace menura::x86
