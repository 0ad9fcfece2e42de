// ContextSet: the translation contexts (software TLB and jump cache per kind of privilege) of one
// address space, and ContextPool: those of the PCIDs a vCPU used lately.
//
// Owner: SoftMmu. Threads: the vCPU's, except protect(), which others call while it runs.
// Design: docs/decisions/004-jit-host-code.md, 007-shared-code-cache.md.
// Example: `ir::Context& c = pool.of(Ring::Kernel, mode);`
#pragma once

#include <array>
#include <atomic>

#include "jit/ir/tables.h"

namespace menura::engine {

// Who accesses memory, as far as the TLB's answers differ.
enum class Ring : u8 {
  User,
  Kernel,        // SMAP forbids user pages
  KernelToUser,  // SMAP is off, or lifted by EFLAGS.AC
};
inline constexpr size_t kRings = 3;

// Pages that code was fetched from.
struct CodePage {
  u64 page = 1;  // linear; 1: empty
  u8* host = nullptr;
};

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
  CodePage& code_page(u64 linear, bool user) {
    return code_pages_[(linear >> 12 & 63) << 1 | (user ? 1 : 0)];
  }
  // Code from this page runs here: jump caches may know it until it is cleared.
  void note_executed(u64 linear) {
    executed_[bloom(linear) >> 6] |= u64{1} << (bloom(linear) & 63);
  }
  // Only contexts handed out since the last time cost anything.
  void clear(const void* miss);
  // A page of more than 4 KiB was entered: its parts are forgotten together.
  void note_large(u64 linear) {
    large_[bloom(linear >> 9) >> 6] |= u64{1} << (bloom(linear >> 9) & 63);
  }
  void clear_page(u64 linear, const void* miss);
  void clear_jumps(const void* miss);
  // Before a host page is entered into a store table; entered so that others may take it out.
  void note_stored(u64 host) {
    std::atomic<u64>& word = stored_[bloom(host) >> 6];
    word.store(word.load(std::memory_order_relaxed) | u64{1} << (bloom(host) & 63),
               std::memory_order_relaxed);
  }
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
    return static_cast<u32>((linear >> 12) * 0x9e3779b97f4a7c15 >> 52);  // 12 bits
  }

  struct Slot {
    ir::Context context;
    u64 code = 0;
    bool used = true;
  };
  std::array<Slot, kRings> slots_;
  std::array<CodePage, 128> code_pages_;
  std::array<u64, 64> executed_{};             // a bit per hash of a page
  std::array<u64, 64> large_{};                // a bit per hash of a 2 MiB region
  std::array<std::atomic<u64>, 64> stored_{};  // a bit per hash of a host page
};

class ContextPool {
 public:
  explicit ContextPool(const void* miss) : miss_(miss) {}
  ~ContextPool();
  ContextPool(const ContextPool&) = delete;
  ContextPool& operator=(const ContextPool&) = delete;
  ContextSet& current() { return *current_; }
  ir::Context& of(Ring ring, u64 code) { return current_->of(ring, code, miss_); }
  // Switches to the contexts of a PCID, fresh ones if it was forgotten meanwhile.
  void select(u16 pcid);
  void clear_all();
  void clear_pcid(u16 pcid);
  void clear_page(u64 linear);  // in all
  void clear_jumps();
  void protect(const void* host_page);  // any thread

 private:
  static constexpr size_t kSets = 8;
  const void* miss_;
  std::array<std::atomic<ContextSet*>, kSets> sets_{};  // made when first needed
  ContextSet* current_ = nullptr;
  u64 uses_ = 0;
};

}  // namespace menura::engine
