#include "accel/jit/contexts.h"

namespace menura::engine {

void ContextSet::clear(const void* miss) {
  for (Slot& slot : slots_) {
    if (!slot.used) continue;
    slot.context.clear_tlb();
    slot.context.clear_jumps(miss);
    slot.used = false;
  }
  code_pages_.fill({});
  executed_.fill(0);
  large_.fill(0);
}

// The 2 MiB around an address: half of each table. (A 1 GiB page that changes its mapping without
// a full flush is beyond this; no known guest does so.)
void ContextSet::clear_region(ir::Context& context, u64 linear) {
  const u64 region = linear & ~u64{0x1f'ffff};
  for (u64 page = region; page < region + 0x20'0000; page += 4096) {
    const u32 at = ir::tlb_index(page);
    if (context.load[at].page == page || context.store[at].page == page) context.clear_page(page);
  }
}

void ContextSet::clear_page(u64 linear, const void* miss) {
  const u32 region = bloom(linear >> 9);
  const bool large = large_[region >> 6] >> (region & 63) & 1;
  for (Slot& slot : slots_) {
    if (large)
      clear_region(slot.context, linear);
    else
      slot.context.clear_page(linear);
  }
  if (large) code_pages_.fill({});
  if (executed_[bloom(linear) >> 6] >> (bloom(linear) & 63) & 1) clear_jumps(miss);
  code_page(linear, false) = {};
  code_page(linear, true) = {};
}

void ContextSet::clear_jumps(const void* miss) {
  for (Slot& slot : slots_) slot.context.clear_jumps(miss);
}

void ContextSet::protect(const void* host_page) {
  for (Slot& slot : slots_) {
    if (!slot.used) continue;
    for (ir::TlbEntry& entry : slot.context.store)
      if (entry.host == reinterpret_cast<u64>(host_page))
        std::memset(static_cast<void*>(&entry), ir::kEmptyByte, sizeof entry);
  }
}

void ContextPool::select(u16 pcid) {
  ContextSet* oldest = nullptr;
  for (std::unique_ptr<ContextSet>& set : sets_) {
    if (!set) {
      set = std::make_unique<ContextSet>();
      set->clear(miss_);
    }
    if (set->valid && set->pcid == pcid) {
      oldest = set.get();
      break;
    }
    if (!oldest || !set->valid || (oldest->valid && set->last_use < oldest->last_use))
      oldest = set.get();
    if (!set->valid) break;
  }
  if (!oldest->valid || oldest->pcid != pcid) {
    oldest->clear(miss_);
    oldest->pcid = pcid;
    oldest->valid = true;
  }
  oldest->last_use = ++uses_;
  current_ = oldest;
}

void ContextPool::clear_all() {
  for (std::unique_ptr<ContextSet>& set : sets_) {
    if (!set) continue;
    if (set.get() == current_)
      set->clear(miss_);
    else
      set->valid = false;
  }
}

void ContextPool::clear_pcid(u16 pcid) {
  for (std::unique_ptr<ContextSet>& set : sets_)
    if (set && set->valid && set->pcid == pcid) set->clear(miss_);
}

void ContextPool::clear_page(u64 linear) {
  for (std::unique_ptr<ContextSet>& set : sets_)
    if (set && set->valid) set->clear_page(linear, miss_);
}

void ContextPool::clear_jumps() {
  for (std::unique_ptr<ContextSet>& set : sets_)
    if (set) set->clear_jumps(miss_);
}

void ContextPool::protect(const void* host_page) {
  for (std::unique_ptr<ContextSet>& set : sets_)
    if (set && set->valid) set->protect(host_page);
}

}  // namespace menura::engine
