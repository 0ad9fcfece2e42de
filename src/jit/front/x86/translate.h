// The x86 front end: decodes guest code and says it in IR.
//
// Owner: jit/front/x86. Threads: stateless; each caller has its own Block.
// Spec: Intel SDM vol. 2. Design: src/jit/ir/README.md. Example:
//   ir::Block block;
//   translate(block, {.pc = rip, .mode = mode_of(state)}, code_up_to_page_end, features, 64);
#pragma once

#include <span>

#include "cpu/x86/state.h"
#include "jit/front/x86/insn.h"
#include "jit/ir/block.h"

namespace menura::jit::x86 {

// The bits of Key::mode: all of the CPU's state that the meaning of code depends on.
namespace mode_bit {
inline constexpr u32 kCodeSize = 3;          // Mode
inline constexpr u32 kUser = 1u << 2;        // CPL 3
inline constexpr u32 kFlat = 1u << 3;        // ES, CS, SS and DS are all of memory
inline constexpr u32 kStackShift = 4;        // two bits: log2 of the stack address size, 1 to 3
inline constexpr u32 kX87 = 1u << 6;         // x87 and MMX instructions do not trap
inline constexpr u32 kSse = 1u << 7;         // nor SSE
inline constexpr u32 kAvx = 1u << 8;         // nor AVX
inline constexpr u32 kCpl0 = 1u << 9;        // or real mode
inline constexpr u32 kShortCode = 1u << 10;  // CS's limit is FFFFh, else all ones
inline constexpr u32 kStepwise = 1u << 11;   // instruction breakpoints, #AC, or another limit of CS
}  // namespace mode_bit
u32 mode_of(const menura::x86::State& state);

// The instruction as a template with P as its memory operand. Only for rows lowered natively.
ir::Native native_template(const Insn& insn);
// Its memory operand.
ir::Address native_address(const Insn& insn, u64 next_pc, u32 mode);
// Bytes that insn's memory operand covers; 0 when it is only an address.
unsigned memory_size(const Insn& insn);

// What lies around the code; null: not to be had.
struct Around {
  const u8* page = nullptr;  // the code's own page, 4096 bytes
  u64 next_linear = 0;
  const u8* next = nullptr;  // the page behind
};

// Translates from key.pc on until a control transfer, `limit` instructions, the end of `code`, or
// an instruction to be stepped over outside; past branches that lead forward, which are likely not
// taken. `code` ends with the page, but where `around.next` is: then some bytes of that follow, and
// an instruction that needs them makes a block of its own.
void translate(ir::Block& block, const ir::Key& key, std::span<const u8> code, FeatureSet features,
               unsigned limit, const Around& around = {});

}  // namespace menura::jit::x86
