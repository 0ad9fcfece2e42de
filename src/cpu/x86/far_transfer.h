// Far jumps, calls and returns, and IRET, with gates, task switches and changes of mode and level.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §5.8, §8; vol. 2 JMP, CALL, RET, IRET.
// On success the state is at the next instruction to run. A fault leaves the state as it was,
// unless a task switch had begun: then it is the new task's, and so is the fault. Example:
//   TRY(far_call(state, bus, {selector, offset}, operand_size, next_rip));
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

struct FarPointer {
  u16 selector = 0;
  u64 offset = 0;  // zero-extended from the operand size
};

// operand_size in bytes: 2, 4 or 8; next_rip is behind the instruction.
OrFault<void> far_jump(State& state, CpuBus& bus, FarPointer to, unsigned operand_size,
                       u64 next_rip);
OrFault<void> far_call(State& state, CpuBus& bus, FarPointer to, unsigned operand_size,
                       u64 next_rip);
// `release`: bytes of parameters behind the frame (RETF imm16), on both stacks.
OrFault<void> far_return(State& state, CpuBus& bus, unsigned operand_size, u16 release);
// Also unblocks NMIs.
OrFault<void> interrupt_return(State& state, CpuBus& bus, unsigned operand_size, u64 next_rip);

}  // namespace menura::x86
