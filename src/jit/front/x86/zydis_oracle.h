// Our decoder's answer compared with Zydis's, for tests only.
//
// Owner: jit/front/x86. Threads: any. Example:
//   std::string what = compare(insn, oracle.decode(code));   // empty: they agree
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <string>

#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

using Code = std::array<u8, 32>;

struct Theirs {
  bool valid = false;
  ZydisDecodedInstruction insn;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

class Oracle {
 public:
  explicit Oracle(Mode mode);
  Theirs decode(const Code& code) const;

 private:
  // Configuration
  ZydisDecoder decoder_;
};

// What they call it, in our words.
std::string their_name(const Theirs& theirs);

// The first difference in validity, length, name, operands, accesses, flags, features or attributes; empty if none.
std::string compare(const Insn& ours, const Theirs& theirs);

// Why such a difference is right, or nullptr.
const char* excuse(const Insn& ours, const Theirs& theirs, const std::string& what);

}  // namespace menura::jit::x86
