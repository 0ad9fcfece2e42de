// ContextSet: the translation contexts (software TLB and jump cache per kind of privilege) of one
// address space, and ContextPool: those of the PCIDs a vCPU used lately.
//
// Owner: SoftMmu. Threads: the vCPU's, except protect(), which others call while it runs.
// Design: docs/decisions/004-jit-host-code.md, 007-shared-code-cache.md.
// Example: `ir::Context& c = pool.of(Ring::Kernel, mode);`
#pragma once

#include <array>
#include <atomic>

#include "accel/jit/statistics.h"
#include "cpu/x86/paging.h"
#include "jit/ir/tables.h"

namespace menura::engine {

// Who accesses memory, as far as the TLB's answers differ.
enum class Ring : u8 {
  User,
  Kernel,        // SMAP forbids user pages
  KernelToUser,  // SMAP is off, or lifted by EFLAGS.AC
};
inline constexpr size_t kRings = 3;

class ContextSet {
 public:
  // `code` identifies the mode that the jump cache's targets were translated for.
  ir::Context& of(Ring ring, u64 code, const void* miss) {
    Slot& slot = slots_[static_cast<size_t>(ring)];
    if (slot.code != code) slot.context.clear_jumps(miss);
    slot.code = code;
    slot.used = true;
    return slot.context;
  }
  // Code from this page runs here: jump caches may know it until it is cleared.
  void note_executed(u64 linear) {
    executed_[bloom(linear) >> 6] |= u64{1} << (bloom(linear) & 63);
  }
  // The tables at the lower levels of the guest's paging, where walks may begin.
  const x86::WalkFrom* walk_from(u64 linear, u64 cr3) {
    if (cr3 != walks_cr3_) clear_walks();
    walks_cr3_ = cr3;
    for (unsigned level = 1; level <= kWalkLevels; level++) {
      x86::WalkFrom& from = walks_[walk_index(linear, level)];
      if (from.level == level && from.region == linear >> (12 + 9 * level)) return &from;
    }
    return nullptr;
  }
  void note_walk(const x86::WalkFrom& from, u64 linear) {
    if (from.level && from.level <= kWalkLevels) walks_[walk_index(linear, from.level)] = from;
  }
  // Only contexts handed out since the last time cost anything.
  void clear(const void* miss);
  // What a load of CR3 forgets: all but global pages.
  void clear_local(const void* miss);
  // A page of more than 4 KiB was entered: its parts are forgotten together.
  void note_large(u64 linear, u64 page_size) {
    large_[bloom(linear >> 9) >> 6] |= u64{1} << (bloom(linear >> 9) & 63);
    if (page_size > u64{1} << 22) huge_ |= huge_bit(linear);
  }
  void clear_page(u64 linear, const void* miss);
  void clear_jumps(const void* miss);
  void clear_walks() { walks_.fill({}); }
  // Before a host page is entered into a store table; entered so that others may take it out.
  void note_stored(const ir::Context& context, u64 host, u64 page);
  static void enter(ir::TlbEntry& entry, u64 page, u64 host);
  static void remove(ir::TlbEntry& entry);
  // Takes the host page out of the store tables: its writes must be seen. Any thread.
  void protect(const void* host_page);

  u16 pcid = 0;
  bool valid = false;
  u64 last_use = 0;

 private:
  static void clear_region(ir::Context& context, u64 linear);
  static u32 bloom(u64 linear) {
    return static_cast<u32>((linear >> 12) * 0x9e3779b97f4a7c15 >> 49);  // 15 bits
  }
  bool known_large(u64 linear) const {
    const u32 region = bloom(linear >> 9);
    return large_[region >> 6] >> (region & 63) & 1;
  }
  // One of 64, for the 1 GiB around an address.
  static u64 huge_bit(u64 linear) { return u64{1} << (linear >> 30 & 63); }
  static constexpr size_t kBloomWords = 512;
  static constexpr unsigned kWalkLevels = 3;
  static u32 walk_index(u64 linear, unsigned level) {
    return static_cast<u32>(linear >> (12 + 9 * level)) % 16 + 16 * (level - 1);
  }

  // Where a host page stands in a store table: at `page`, or kMany: anywhere.
  static constexpr u64 kMany = 1;
  struct Stored {
    std::atomic<u64> host{0}, page{0};
  };
  static constexpr size_t kStored = 8192;

  struct Slot {
    Stored& stored_at(u64 host) { return stored[bloom(host) % kStored]; }
    void clear(const void* miss);
    void protect(u64 host);

    ir::Context context;
    u64 code = 0;
    bool used = true;
    std::array<Stored, kStored> stored;  // by a hash of the host page
    u32 crowded = 0;                     // of them, how many say kMany
  };
  std::array<Slot, kRings> slots_;
  std::array<x86::WalkFrom, 16 * kWalkLevels> walks_{};
  u64 walks_cr3_ = 0;
  std::array<u64, kBloomWords> executed_{};  // a bit per hash of a page
  std::array<u64, kBloomWords> large_{};     // a bit per hash of a 2 MiB region
  u64 huge_ = 0;                             // 1 GiB pages that were entered, by huge_bit()
};

class ContextPool {
 public:
  explicit ContextPool(const void* miss) : miss_(miss) {}
  ~ContextPool();
  ContextPool(const ContextPool&) = delete;
  ContextPool& operator=(const ContextPool&) = delete;
  ContextSet& current() { return *current_; }
  bool selected(u16 pcid) const { return current_ && current_->valid && current_->pcid == pcid; }
  ir::Context& of(Ring ring, u64 code) { return current_->of(ring, code, miss_); }
  // Switches to the contexts of a PCID, fresh ones if it was forgotten meanwhile.
  void select(u16 pcid);
  void clear_all();
  void clear_local();           // in all, but global pages
  void clear_pcid(u16 pcid);    // the same of one
  void clear_page(u64 linear);  // in all
  void clear_jumps();
  void protect(const void* host_page);  // any thread
  const FlushStatistics& flushes() const { return flushes_; }

 private:
  static constexpr size_t kSets = 8;
  const void* miss_;
  std::array<std::atomic<ContextSet*>, kSets> sets_{};  // made when first needed
  ContextSet* current_ = nullptr;
  u64 uses_ = 0;
  FlushStatistics flushes_;
};

}  // namespace menura::engine
