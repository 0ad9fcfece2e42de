// The tables that translated code reads: the software TLB and the jump cache of one translation
// context, shared by the back end (which emits the look-ups) and the run time (which fills them).
//
// Owner: jit/ir. Threads: a context belongs to one vCPU. Design: docs/decisions/004-jit-host-code.md.
// Example: `context.load[context.index(linear)] = {page, host - page offset};`
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "base/types.h"

namespace menura::ir {

// The TLB is indexed by the page number's low bits. Its size follows the misses: small tables are
// cleared quickly, large ones hold what big programs use.
inline constexpr u32 kLeastTlb = 256, kFirstTlb = 1024, kMostTlb = 32768;  // entries

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
  std::array<TlbEntry, kMostTlb> load;
  std::array<TlbEntry, kMostTlb> store;
  std::array<const void*, kJumpEntries> jumps;   // entries that verify the pc; never null
  std::atomic<u32> mask = (kFirstTlb - 1) << 4;  // of a byte offset into load and store
  u32 fills = 0;                                 // since the tables were cleared

  u32 size() const { return (mask.load(std::memory_order_relaxed) >> 4) + 1; }
  u32 index(u64 linear) const { return static_cast<u32>(linear >> 12) & (size() - 1); }

  void clear_tlb() {
    if (fills < size() / 8 && size() > kLeastTlb) resize(size() / 4);
    empty();
  }
  // Before an entry is made: too many misses ask for larger tables.
  void note_fill() {
    if (++fills <= 2 * size() || size() == kMostTlb) return;
    resize(std::min(4 * size(), kMostTlb));
    empty();
  }
  void clear_page(u64 linear) {
    std::memset(static_cast<void*>(&load[index(linear)]), kEmptyByte, sizeof(TlbEntry));
    std::memset(static_cast<void*>(&store[index(linear)]), kEmptyByte, sizeof(TlbEntry));
  }
  void clear_jumps(const void* miss) { jumps.fill(miss); }

 private:
  void resize(u32 entries) { mask.store((entries - 1) << 4, std::memory_order_seq_cst); }
  void empty() {
    fills = 0;
    std::memset(static_cast<void*>(load.data()), kEmptyByte, size() * sizeof(TlbEntry));
    std::memset(static_cast<void*>(store.data()), kEmptyByte, size() * sizeof(TlbEntry));
  }
};

}  // namespace menura::ir
