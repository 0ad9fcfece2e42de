// SYSCALL, SYSRET, SYSENTER and SYSEXIT.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 2, AMD APM vol. 3. Where they differ
// (SYSCALL in compatibility and legacy mode, SYSENTER in long mode) the vendor of CPUID leaf 0 says.
// SYSRET checks RCX before leaving CPL 0, as Intel does. A fault leaves the state as it was.
// Example: `TRY(system_call(state, bus, next_rip));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

OrFault<void> system_call(State& state, CpuBus& bus, u64 next_rip);
// operand_size 8 returns to 64-bit mode.
OrFault<void> system_return(State& state, CpuBus& bus, unsigned operand_size);
OrFault<void> system_enter(State& state, CpuBus& bus);
OrFault<void> system_exit(State& state, CpuBus& bus, unsigned operand_size);

}  // namespace menura::x86
