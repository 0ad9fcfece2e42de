// PUSHF, POPF, CLI and STI: which flags which level may see and change, with virtual-8086 mode,
// VME and protected-mode virtual interrupts.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 2 (POPF's table), vol. 3 §21.3.
// Example: `state.rflags = TRY(popped_flags(state, value, operand_size));`
#pragma once

#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// What PUSHF pushes; #GP(0) in virtual-8086 mode without IOPL 3 (and without VME for 16 bits).
OrFault<u64> pushed_flags(const State& state, unsigned operand_size);
// RFLAGS after POPF of `value`; operand_size 2, 4 or 8. The state is not changed.
OrFault<u64> popped_flags(const State& state, u64 value, unsigned operand_size);
// CLI and STI; STI sets the interrupt shadow when IF was clear.
OrFault<void> clear_interrupt_flag(State& state);
OrFault<void> set_interrupt_flag(State& state);

}  // namespace menura::x86
