// Expressions of the human monitor: numbers, registers ($rip, $cr3, $ds_base), + - * / % & | ^ ~ and
// parentheses; 64-bit, unsigned.
//
// Owner: control/monitor. Threads: pure functions. Bounded in depth.
// Example: `u64 address = TRY(evaluate(state, "$rsp + 8*2"));`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cpu/x86/state.h"

namespace menura {

Result<u64> evaluate(const x86::State& state, std::string_view text);

// Without the '$'. $pc, $rip and $eip are the linear address of the next instruction.
std::vector<std::string> register_names();

}  // namespace menura
