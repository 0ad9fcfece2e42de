// Memory for people: `x /8xb $rip` and `xp /FMT ADDRESS`.
//
// Owner: control/monitor. Threads: under the machine lock. Only RAM and ROM are read: looking at a
// device's registers would change them. Example: see hmp.cpp.
#pragma once

#include <string>

#include "control/monitor/hmp.h"

namespace menura {

enum class AddressKind : u8 { Linear, Physical };

// words: perhaps "/" count format size (x d u o c, b h w g; 1xw if nothing is said), and an address.
Result<std::string> dump_memory(HmpContext& context, AddressKind kind, HmpWords words);

// Sums of numbers and registers of the CPU: "$rip", "0x7c00+16", "$ds_base"; linear. Bounded.
Result<u64> parse_address(const x86::State& state, std::string_view text);

}  // namespace menura
