// What translated code knows of its surroundings: the vCPU block that host rsp points at, and the
// translation context that the GS base points at.
//
// Owner: jit/back/x64. Threads: constants. Design: docs/decisions/004-jit-host-code.md.
// Host registers: rsp = vCPU block, r10 and r11 scratch, r15 = guest RSP, every other one is the
// guest register of its own number; guest r10, r11 and r15 live in the vCPU block. ymm, x87, MXCSR
// and the status flags are the guest's own. Example: `mov r10, [rsp + layout.gpr + 8 * 11]`
#pragma once

#include "base/types.h"

namespace menura::x64 {

inline constexpr unsigned kPointers = 4;

// Byte offsets in the vCPU block, and of its context's tables.
struct Layout {
  u32 gpr = 0;  // 16 u64
  u32 rip = 0;  // u64
  u32 segment_base = 0;
  u32 segment_stride = 0;
  u32 read_ends = 0;  // 6 u64: behind the last byte that may be read through the segment
  u32 write_ends = 0;
  u32 vectors = 0;  // 16 of 32 bytes
  u32 mxcsr = 0;
  u32 flags = 0;      // u16: AH as LAHF gives it, AL = OF; see Emitter on when it is valid
  u32 poll = 0;       // u32: not 0 asks for attention
  u32 exit_info = 0;  // u64
  u32 host_rsp = 0;
  u32 code = 0;        // u64: where to enter
  u32 pointer = 0;     // u64: see ir Opcode::Pointer
  u32 stash = 0;       // u64
  u32 pointers = 0;    // kPointers u64: host memory that a block is going to use again
  u32 rflags = 0;      // u64, whose status bits are elsewhere
  u32 kernel_gs = 0;   // u64: what SWAPGS exchanges with the base of GS
  u32 interrupt = 0;   // u32: not 0: one waits to be let in
  u32 tsc_offset = 0;  // u64: guest TSC less host TSC
  u32 tsc_until = 0;   // u64: host TSC up to which the guest's may be read without the engine
  u32 tsc_aux = 0;     // u64
  u32 contexts = 0;    // 2 u64: the translation contexts for EFLAGS.AC = 0 and 1
  u32 targets = 0;     // u64: address of ir::Target[]
  u32 code_tag = 0;    // u64: the mode as it stands in their tags
  // In the context.
  u32 load_table = 0;
  u32 store_table = 0;
  u32 tlb_mask = 0;  // u32
  u32 jumps = 0;
  u32 code_pages = 0;
};

inline constexpr bool is_pinned(unsigned guest) {
  return guest != 10 && guest != 11 && guest != 15;
}
// Of a pinned guest register.
inline constexpr unsigned host_of(unsigned guest) { return guest == 4 ? 15 : guest; }

}  // namespace menura::x64
