// StackCursor: pushes and pops of one instruction or delivery, without moving RSP until the end.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 1 §6.2, vol. 3 §6.12-6.14. Example:
//   StackCursor stack(state, bus);
//   TRY(stack.push(state.rflags, 4));
//   stack.commit(state);
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

class StackCursor {
 public:
  // The current stack, for accesses of the current privilege level; faults are #SS(0).
  StackCursor(const State& state, CpuBus& bus);

  // A stack being switched to; the error code of its #SS. `long_stack`: 64-bit addresses without a
  // segment, as every stack of a 64-bit handler.
  struct Target {
    Segment segment;
    u64 pointer = 0;
    u8 cpl = 0;
    bool long_stack = false;
    u32 error_code = 0;
  };
  StackCursor(const State& state, CpuBus& bus, const Target& target);

  // Sizes 2, 4 or 8; values are truncated to them.
  OrFault<void> push(u64 value, unsigned size);
  OrFault<u64> pop(unsigned size);
  // Whether a push would succeed.
  OrFault<void> check_push(unsigned size) const;
  // As far below or above without touching memory.
  void release(u64 bytes) { pointer_ = wrapped(pointer_ + bytes); }

  // The pointer inside the stack's address width, and as RSP shall hold it.
  u64 pointer() const { return pointer_; }
  u64 rsp(u64 old_rsp) const;
  void commit(State& state) const { state.gpr[Rsp] = rsp(state.gpr[Rsp]); }

 private:
  u64 wrapped(u64 pointer) const;
  OrFault<u64> linear(u64 offset, unsigned size) const;

  // Wiring
  const State& state_;
  CpuBus& bus_;
  // State
  Segment segment_;
  u64 pointer_;
  unsigned width_;  // bytes of a stack address
  Privilege privilege_;
  u32 error_code_ = 0;
};

// Bytes of a stack address: 8 in 64-bit mode, else as SS says.
unsigned stack_width(const State& state);

}  // namespace menura::x86
