// The tables that translated code reads: the software TLB and the jump cache of one translation
// context, shared by the back end (which emits the look-ups) and the run time (which fills them).
//
// Owner: jit/ir. Threads: a context belongs to one vCPU. Design: docs/decisions/004-jit-host-code.md.
// Example: `context.load[tlb_index(linear)] = {page, host - page offset};`
#pragma once

#include <array>
#include <cstring>

#include "base/types.h"

namespace menura::ir {

// Indexed by the page number's low bits.
inline constexpr unsigned kTlbBits = 10;
inline constexpr u32 kTlbEntries = 1u << kTlbBits;
inline constexpr u32 kTlbMask = (kTlbEntries - 1) << 4;  // of a byte offset into the table
constexpr u32 tlb_index(u64 linear) { return static_cast<u32>(linear >> 12) & (kTlbEntries - 1); }

// Indexed by some bits of the pc.
inline constexpr unsigned kJumpBits = 12;
inline constexpr unsigned kJumpShift = 2;
inline constexpr u32 kJumpEntries = 1u << kJumpBits;
inline constexpr u32 kJumpMask = (kJumpEntries - 1) << kJumpShift;
constexpr u32 jump_index(u64 pc) { return static_cast<u32>(pc & kJumpMask) >> kJumpShift; }

// A hit is `linear - page <= 4096 - size`; then the host address is that difference plus `host`.
struct TlbEntry {
  u64 page;
  u64 host;
};

// No page begins at this address: it is not canonical, and host accesses through it fault.
inline constexpr u8 kEmptyByte = 0x80;

struct Context {
  std::array<TlbEntry, kTlbEntries> load;
  std::array<TlbEntry, kTlbEntries> store;
  std::array<const void*, kJumpEntries> jumps;  // entries that verify the pc; never null

  void clear_tlb() {
    std::memset(static_cast<void*>(load.data()), kEmptyByte, sizeof load);
    std::memset(static_cast<void*>(store.data()), kEmptyByte, sizeof store);
  }
  void clear_page(u64 linear) {
    std::memset(static_cast<void*>(&load[tlb_index(linear)]), kEmptyByte, sizeof(TlbEntry));
    std::memset(static_cast<void*>(&store[tlb_index(linear)]), kEmptyByte, sizeof(TlbEntry));
  }
  void clear_jumps(const void* miss) { jumps.fill(miss); }
};

}  // namespace menura::ir
