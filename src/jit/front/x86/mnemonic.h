// Instruction names.
//
// Owner: jit/front/x86. Threads: constants.
// One mnemonic may cover several operand sizes (Movs is MOVSB to MOVSQ); the printer picks the spelling.
// Example: switch (insn.mnemonic) { case Mnemonic::Jmp: ... }
#pragma once

#include <string_view>

#include "base/types.h"

namespace menura::jit::x86 {

enum class Mnemonic : u16 {
#define MNEMONIC(name) name,
#include "jit/front/x86/mnemonics.def"
#undef MNEMONIC
  Count
};

// Lower case, as assemblers write it. `bytes` picks the spelling where it depends on the operand size
// (MOVS, CBW) or the address size (JCXZ); other names ignore it.
std::string_view name(Mnemonic mnemonic, unsigned bytes);

}  // namespace menura::jit::x86
