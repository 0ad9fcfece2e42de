// discard_ram: gives pages of guest RAM back to the host; they read as zeroes afterwards.
//
// Owner: memory. Threads: under the machine lock; vCPUs may run. Only whole pages of plain writable RAM
// go; RAM that is a private copy of a file stays as it is. Example: `discard_ram(memory, {0x5000}, 4096);`
#pragma once

#include "memory/address_space.h"

namespace menura {

void discard_ram(const AddressSpace& space, GuestAddr addr, u64 length);

}  // namespace menura
