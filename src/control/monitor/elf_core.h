// An ELF core file of a guest, as gdb and crash read it.
//
// Owner: control/monitor. Threads: under the machine lock, CPUs at rest.
// Example: `TRY(write_elf_core(machine, fd, pieces));`
#pragma once

#include <vector>

#include "machine/machine.h"

namespace menura {

// A run of guest RAM in the core.
struct CorePiece {
  u64 linear = 0;  // what debuggers call it
  u64 physical = 0;
  u64 size = 0;  // bytes
};

Result<void> write_elf_core(Machine& machine, int fd, const std::vector<CorePiece>& pieces);

}  // namespace menura
