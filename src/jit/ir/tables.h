// The tables that translated code reads: the software TLB and the jump cache of one translation
// context, and a vCPU's table of targets behind all its jump caches; shared by the back end (which
// emits the look-ups) and the run time (which fills them).
//
// Owner: jit/ir. Threads: each belongs to one vCPU. Design: docs/decisions/004-jit-host-code.md.
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

// The pages that code was fetched from lately: linear, and the host's address of the same page.
inline constexpr u32 kCodePages = 1024;
struct CodePage {
  u64 page;
  u64 host;
};
constexpr u32 code_page_index(u64 linear) {
  return static_cast<u32>(linear >> 12) & (kCodePages - 1);
}

// Behind the jump caches: an entry is right wherever its page is mapped, so it outlives flushes of
// the TLB. `tag` is the host address of the code's page with the block's mode in the low 12 bits.
struct Target {
  u64 pc = 0;
  u64 tag = 0;
  const u8* entry = nullptr;  // verifies r10 == pc
  u64 unused = 0;
};
inline constexpr u32 kTargets = 1u << 14;
constexpr u32 target_index(u64 pc, u64 tag) {
  return static_cast<u32>(pc ^ tag >> 8) & (kTargets - 1);
}
// Of a vCPU in a mode whose targets are never entered.
inline constexpr u64 kNoTag = u64{1} << 63;
// What the entry of a dropped block begins with: a jump.
inline constexpr u8 kDiverted = 0xe9;

struct Context {
  std::array<TlbEntry, kMostTlb> load;
  std::array<TlbEntry, kMostTlb> store;
  std::array<const void*, kJumpEntries> jumps;  // entries that verify the pc; never null
  std::array<CodePage, kCodePages> code_pages;
  std::atomic<u32> mask = (kFirstTlb - 1) << 4;  // of a byte offset into load and store
  u32 fills = 0;                                 // since the tables were cleared
  // What a flush that spares global pages must take out; more than kLocals: everything.
  static constexpr u32 kLocals = 512;
  std::array<u64, kLocals> locals;
  u32 local_count = 0;
  bool local_code = false;  // code pages or jumps know some

  u32 size() const { return (mask.load(std::memory_order_relaxed) >> 4) + 1; }
  u32 index(u64 linear) const { return static_cast<u32>(linear >> 12) & (size() - 1); }

  void clear_tlb() {
    if (fills < size() / 8 && size() > kLeastTlb) resize(size() / 4);
    empty();
    clear_code_pages();
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
    std::memset(static_cast<void*>(&code_page(linear)), kEmptyByte, sizeof(CodePage));
  }
  void note_local(u64 linear) {
    if (local_count < kLocals) locals[local_count] = linear;
    if (local_count <= kLocals) local_count++;
  }
  void clear_locals(const void* miss) {
    if (local_count > kLocals) {
      clear_tlb();
    } else {
      for (u32 i = 0; i < local_count; i++) clear_page(locals[i]);
      local_count = 0;
    }
    if (!local_code) return;
    clear_code_pages();
    clear_jumps(miss);
    local_code = false;
  }
  CodePage& code_page(u64 linear) { return code_pages[code_page_index(linear)]; }
  void clear_code_pages() {
    std::memset(static_cast<void*>(code_pages.data()), kEmptyByte, sizeof code_pages);
  }
  void clear_jumps(const void* miss) { jumps.fill(miss); }
  // Those of one page of code.
  void clear_jumps(u64 page, const void* miss) {
    static_assert(kJumpMask >= 0xffc);
    const u32 first = jump_index(page & ~u64{4095});
    std::fill_n(jumps.begin() + first, 4096 >> kJumpShift, miss);
  }

 private:
  void resize(u32 entries) { mask.store((entries - 1) << 4, std::memory_order_seq_cst); }
  void empty() {
    fills = 0;
    local_count = 0;
    std::memset(static_cast<void*>(load.data()), kEmptyByte, size() * sizeof(TlbEntry));
    std::memset(static_cast<void*>(store.data()), kEmptyByte, size() * sizeof(TlbEntry));
  }
};

}  // namespace menura::ir
