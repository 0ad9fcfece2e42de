// Prints an instruction in Intel syntax, for dumps.
//
// Owner: jit/front/x86. Threads: any.
// Example: print(insn, 0x7c00) == "jmp 0x7c3e"
#pragma once

#include <string>

#include "base/types.h"
#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

// `pc` is the address of the instruction; branch targets and rip-relative addresses are printed absolute.
// An instruction that is not Ok prints as "(bad)".
std::string print(const Insn& insn, u64 pc);

}  // namespace menura::jit::x86
