// Random encodings of a given row, for tests that run instructions in more than one way.
//
// Owner: jit/front/x86. Threads: any. Example:
//   u64 random = seed;
//   for (unsigned row = 1; row < row_count(); ++row)
//     if (Sample code = sample(row, Mode::Bits64, random); code.length != 0) ...
#pragma once

#include <array>

#include "base/types.h"
#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

struct Sample {
  std::array<u8, kMaxLength> bytes = {};
  u8 length =
      0;  // 0: this attempt failed (the row does not exist in the mode, or a chance combination is #UD)
};

// Rows are numbered from 1 to row_count() - 1, as in Insn::row.
unsigned row_count();
const Row& row_at(unsigned row);

// One attempt at prefixes, ModRM, SIB, displacement and immediate, all by chance within what the row allows. `random` is
// the state of the generator. The result decodes to `row` with every feature offered.
Sample sample(unsigned row, Mode mode, u64& random);

}  // namespace menura::jit::x86
