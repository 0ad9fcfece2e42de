// Hardware task switches, and what else reads the TSS: stacks of inner levels, I/O permissions.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §8 (task management), vol. 1 §19.5.
// Deviation: the debug trap flag (T) of a TSS raises no #DB.
// Example: `TRY(switch_task(state, bus, selector, TaskSwitch::Jump, next_rip));`
#pragma once

#include <optional>

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

enum class TaskSwitch : u8 {
  Jump,
  Call,    // nests
  Return,  // IRET with NT: to the task of the back link, which must be busy
  Event,   // interrupt or exception through a task gate: nests
};

// Switches to the task of a TSS selector. `saved_rip` goes into the old TSS. Privilege checks of a
// direct JMP or CALL (DPL) are the caller's. `external` is the EXT bit of error codes.
struct TaskRequest {
  u16 selector = 0;
  TaskSwitch kind = TaskSwitch::Jump;
  u64 saved_rip = 0;
  bool external = false;
  std::optional<u32> error_code;  // pushed on the new task's stack
};
OrFault<void> switch_task(State& state, CpuBus& bus, const TaskRequest& request);

// IRET with NT set, outside of long mode.
OrFault<void> return_from_task(State& state, CpuBus& bus, u64 next_rip);

// SS:ESP for a level below 3 from the 16- or 32-bit TSS, fully checked; #TS and #SS with `ext`.
struct InnerStack {
  Segment segment;
  u64 pointer = 0;
};
OrFault<InnerStack> inner_stack(const State& state, CpuBus& bus, u8 level, u32 ext);
// RSP0-2 of the 64-bit TSS, or with ist (1-7) an IST entry.
OrFault<u64> inner_stack64(const State& state, CpuBus& bus, u8 level, u8 ist, u32 ext);

// IN, OUT and their string forms: CPL against IOPL, then the TSS's bitmap; else #GP(0). Size 1, 2, 4.
OrFault<void> check_io(const State& state, CpuBus& bus, u16 port, unsigned size);

}  // namespace menura::x86
