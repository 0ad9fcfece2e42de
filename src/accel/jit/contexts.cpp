#include "accel/jit/contexts.h"

#include <algorithm>
#include <memory>
#include <span>

namespace menura::engine {

void ContextSet::Slot::clear(const void* miss) {
  context.clear_tlb();
  context.clear_jumps(miss);
  context.local_code = false;
  used = false;
  crowded = 0;
  for (Stored& s : stored) {
    s.host.store(0, std::memory_order_relaxed);
    s.page.store(0, std::memory_order_relaxed);
  }
}

void ContextSet::clear(const void* miss) {
  for (Slot& slot : slots_)
    if (slot.used) slot.clear(miss);
  clear_walks();
  executed_.fill(0);
  large_.fill(0);
  huge_ = 0;
}

void ContextSet::clear_local(const void* miss) {
  clear_walks();
  for (Slot& slot : slots_) {
    if (!slot.used) continue;
    if (slot.crowded > kStored / 64)
      slot.clear(miss);
    else
      slot.context.clear_locals(miss);
  }
}

// The 4 MiB around an address: two large pages, or one of two-level paging.
void ContextSet::clear_region(ir::Context& context, u64 linear) {
  const u64 region = linear & ~u64{0x3f'ffff};
  for (u64 page = region; page < region + 0x40'0000; page += 4096) {
    const u32 at = context.index(page);
    if (context.load[at].page == page || context.store[at].page == page) context.clear_page(page);
  }
  context.clear_code_pages();
}

void ContextSet::clear_page(u64 linear, const void* miss) {
  if (huge_ & huge_bit(linear)) return clear(miss);
  const u64 half = 0x20'0000;
  const bool large = known_large(linear & ~half) || known_large(linear | half);
  const bool executed = executed_[bloom(linear) >> 6] >> (bloom(linear) & 63) & 1;
  clear_walks();
  for (Slot& slot : slots_) {
    if (!slot.used) continue;
    if (large)
      clear_region(slot.context, linear);
    else
      slot.context.clear_page(linear);
    const bool based = slot.code >> 12;  // pc and linear address differ
    if (large || (executed && based))
      slot.context.clear_jumps(miss);
    else if (executed)
      slot.context.clear_jumps(linear, miss);
  }
}

void ContextSet::clear_jumps(const void* miss) {
  for (Slot& slot : slots_)
    if (slot.used) slot.context.clear_jumps(miss);
}

// The page last: an entry half written belongs to no address.
void ContextSet::enter(ir::TlbEntry& entry, u64 page, u64 host) {
  remove(entry);
  std::atomic_ref(entry.host).store(host, std::memory_order_release);
  std::atomic_ref(entry.page).store(page, std::memory_order_release);
}

void ContextSet::remove(ir::TlbEntry& entry) {
  constexpr u64 kEmpty = u64{ir::kEmptyByte} * 0x0101'0101'0101'0101;
  std::atomic_ref(entry.page).store(kEmpty, std::memory_order_release);
}

// The owner looks for code in the page afterwards: whoever read this place too early is found then.
void ContextSet::note_stored(const ir::Context& context, u64 host, u64 page) {
  Slot& slot = *std::ranges::find_if(slots_, [&](Slot& s) { return &s.context == &context; });
  Stored& s = slot.stored_at(host);
  const u64 old_host = s.host.load(std::memory_order_relaxed);
  const u64 old_page = s.page.load(std::memory_order_relaxed);
  if (old_page == kMany || (old_host == host && old_page == page)) return;
  const ir::TlbEntry& old = context.store[context.index(old_page)];
  if (old_host != 0 && old.page == old_page && old.host == old_host) {
    slot.crowded++;
    s.page.store(kMany, std::memory_order_seq_cst);
    return;
  }
  s.page.store(page, std::memory_order_seq_cst);
  s.host.store(host, std::memory_order_seq_cst);
}

void ContextSet::Slot::protect(u64 host) {
  const Stored& known = stored_at(host);
  const u64 page = known.page.load(std::memory_order_seq_cst);
  if (page != kMany) {
    if (known.host.load(std::memory_order_seq_cst) == host)
      remove(context.store[context.index(page)]);
    return;
  }
  const size_t size = (context.mask.load(std::memory_order_seq_cst) >> 4) + 1;
  for (ir::TlbEntry& entry : std::span(context.store).first(size))
    if (std::atomic_ref(entry.host).load(std::memory_order_relaxed) == host) remove(entry);
}

// The vCPU may be filling its tables or using them. It looks for code in a page again after it has
// entered it, so either that look or this one finds the other. To take out too much does no harm.
void ContextSet::protect(const void* host_page) {
  for (Slot& slot : slots_) slot.protect(reinterpret_cast<u64>(host_page));
}

ContextPool::~ContextPool() {
  for (std::atomic<ContextSet*>& set : sets_) delete set.load();
}

void ContextPool::select(u16 pcid) {
  flushes_.switches++;
  ContextSet* oldest = nullptr;
  for (std::atomic<ContextSet*>& place : sets_) {
    ContextSet* set = place.load(std::memory_order_relaxed);
    if (!set) {
      auto made = std::make_unique_for_overwrite<ContextSet>();
      made->clear(miss_);
      set = made.release();
      place.store(set, std::memory_order_release);
    }
    if (set->valid && set->pcid == pcid) {
      oldest = set;
      break;
    }
    if (!oldest || !set->valid || (oldest->valid && set->last_use < oldest->last_use)) oldest = set;
    if (!set->valid) break;
  }
  if (!oldest->valid || oldest->pcid != pcid) {
    if (!oldest->valid)
      oldest->clear(miss_);
    else
      oldest->clear_local(miss_);
    oldest->pcid = pcid;
    oldest->valid = true;
  }
  oldest->last_use = ++uses_;
  current_ = oldest;
}

void ContextPool::clear_all() {
  flushes_.all++;
  for (ContextSet* set : sets_) {
    if (!set) continue;
    if (set == current_)
      set->clear(miss_);
    else
      set->valid = false;
  }
}

void ContextPool::clear_local() {
  flushes_.local++;
  for (ContextSet* set : sets_)
    if (set && set->valid) set->clear_local(miss_);
}

void ContextPool::clear_pcid(u16 pcid) {
  flushes_.local++;
  for (ContextSet* set : sets_)
    if (set && set->valid && set->pcid == pcid) set->clear_local(miss_);
}

void ContextPool::clear_page(u64 linear) {
  flushes_.pages++;
  for (ContextSet* set : sets_)
    if (set && set->valid) set->clear_page(linear, miss_);
}

void ContextPool::clear_jumps() {
  for (ContextSet* set : sets_)
    if (set) set->clear_jumps(miss_);
}

void ContextPool::protect(const void* host_page) {
  for (ContextSet* set : sets_)
    if (set) set->protect(host_page);
}

}  // namespace menura::engine
