// The PC's system flash: up to two chips below 4 GiB, from -drive if=pflash or -machine pflash0= and
// pflash1=. The first holds the firmware and ends at 4 GiB; the second, with its variables, lies
// below the first.
//
// Owner: PcBoard. Threads: under the machine lock. Example:
//   std::vector<std::unique_ptr<Pflash>> chips = TRY(build_flash(machine, pci_memory));
#pragma once

#include <memory>
#include <vector>

#include "hw/flash/pflash.h"
#include "machine/machine.h"

namespace menura {

// Loads and maps them; none where nobody asked for any. Errors: a size that no chip has, a second
// one without a first, together with -bios.
Result<std::vector<std::unique_ptr<Pflash>>> build_flash(Machine& machine, Region& pci_memory);

}  // namespace menura
