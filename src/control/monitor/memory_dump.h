// Memory for people: `x /8xb $rip`, `xp /FMT ADDRESS`, `x /10i $pc`, and what the page tables map.
//
// Owner: control/monitor. Threads: under the machine lock. Only RAM and ROM are read: looking at a
// device's registers would change them. Example: see hmp.cpp.
#pragma once

#include <functional>
#include <string>

#include "control/monitor/guest_memory.h"
#include "control/monitor/hmp.h"

namespace menura {

enum class AddressKind : u8 { Linear, Physical };

// words: perhaps "/" count format size (x d u o c i, b h w g; 1xw if nothing is said), and an
// expression.
Result<std::string> dump_memory(HmpContext& context, AddressKind kind, HmpWords words);

// `print /FMT EXPRESSION`
Result<std::string> print_value_of(HmpContext& context, HmpWords words);

// One mapping of a page table, with its rights.
struct Mapping {
  u64 linear = 0;
  u64 physical = 0;
  u64 size = 0;                                            // bytes
  u64 entry = 0;                                           // as it stands in the table
  bool user = false, writable = false, executable = true;  // through all levels
};
// In order of linear addresses, until `take` says that it has enough.
void walk_all(const GuestMemory& memory, const x86::State& state,
              const std::function<bool(const Mapping&)>& take);
// `info tlb` and `info mem`
Result<std::string> print_mappings(HmpContext& context);
Result<std::string> print_mapped_ranges(HmpContext& context);

}  // namespace menura
