// Prints host code, for -d out_asm.
//
// Owner: jit/back/x64. Threads: any. Example: `code_log(disassemble(code, address));`
#pragma once

#include <span>
#include <string>

#include "base/types.h"

namespace menura::x64 {

// A line per instruction: address, bytes, text. `address` is where the code runs.
std::string disassemble(std::span<const u8> code, u64 address);

}  // namespace menura::x64
