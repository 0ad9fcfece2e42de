// The guest's memory as a debugger sees it: by a CPU's page tables, or physical.
//
// Owner: control/monitor. Threads: under the machine lock; the CPU rests or the state is a copy.
// Only RAM and ROM: looking at a device's registers would change them.
// Example: `GuestMemory memory(machine.memory(), &state);  TRY(memory.read(address, bytes));`
#pragma once

#include "cpu/x86/paging.h"
#include "memory/address_space.h"

namespace menura {

class GuestMemory {
 public:
  // Without a state, addresses are physical.
  explicit GuestMemory(AddressSpace& memory, const x86::State* state = nullptr)
      : memory_(memory), state_(state) {}

  // Errors name the address that is not mapped, or is neither RAM nor ROM.
  Result<void> read(u64 address, Bytes to) const;
  Result<void> write(u64 address, ConstBytes from);
  Result<x86::Translation> translate(u64 linear) const;
  // An entry of a page table; all ones where there is no memory.
  u64 load_entry(u64 physical, unsigned size) const;

 private:
  // The physical address, and how many bytes from there are together.
  Result<std::pair<u64, u64>> place(u64 address, u64 size) const;

  AddressSpace& memory_;
  const x86::State* state_;
};

}  // namespace menura
