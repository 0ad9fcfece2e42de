#include "jit/run/block_table.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/check.h"
#include "jit/ir/tables.h"

namespace menura::jit {

namespace {

// How many translations of one place are kept while other bytes stand there.
constexpr size_t kVersions = 4;
// Of a page, before all of its blocks go with each write; only so many are cheap to find again.
constexpr u32 kManyWrites = 16;
constexpr size_t kFewBlocks = 32;

// A bit for each 64-byte line of its page that [at, at + size) touches; it stays in one page.
u64 lines_of(u64 at, u64 size) {
  const unsigned first = (at >> 6) & 63;
  const unsigned last = ((at + (size ? size - 1 : 0)) >> 6) & 63;
  return low_mask(last + 1) & ~low_mask(first);
}

u64 lines_ahead(const TranslatedBlock& b) {
  return b.ahead.empty() ? 0 : lines_of(b.ahead_at, b.ahead.size());
}

// Other threads may be running here: one store, inside 8 aligned bytes.
void point(u8* field, const u8* to) {
  const u32 displacement = static_cast<u32>(to - (field + 4));
  asm volatile("movl %1, %0"
               : "=m"(*reinterpret_cast<u8(*)[4]>(field))
               : "r"(displacement)
               : "memory");
}

void store_code(u8* entry, u64 bytes) {
  std::atomic_ref<u64>(*reinterpret_cast<u64*>(entry)).store(bytes, std::memory_order_release);
}

// The first 8 bytes of an entry with a jump in place of the first 5.
u64 diverted(const u8* entry, u64 bytes, const u8* to) {
  bytes &= ~low_mask(40);
  return bytes | ir::kDiverted | static_cast<u64>(static_cast<u32>(to - (entry + 5))) << 8;
}

}  // namespace

const SiteRecord* TranslatedBlock::site_at(const u8* host) const {
  for (const SiteRecord& site : sites)
    if (code + site.offset == host) return &site;
  return nullptr;
}

TranslatedBlock* BlockTable::find(const ir::Key& key) const {
  auto found = blocks_.find(key);
  return found == blocks_.end() ? nullptr : found->second;
}

TranslatedBlock* BlockTable::find_host(const u8* code) const {
  auto after = by_host_.upper_bound(code);
  if (after == by_host_.begin()) return nullptr;
  TranslatedBlock* block = std::prev(after)->second.get();
  return code < block->code + block->size ? block : nullptr;
}

TranslatedBlock* BlockTable::add(std::unique_ptr<TranslatedBlock> block) {
  TranslatedBlock* raw = block.get();
  by_host_[raw->code] = std::move(block);
  raw->checked_code = load_raw<u64>(raw->checked);
  enlist(raw);
  return raw;
}

TranslatedBlock* BlockTable::revive(const ir::Key& key, std::span<const u8> code) {
  auto found = dropped_.find(key);
  if (found == dropped_.end()) return nullptr;
  std::vector<TranslatedBlock*>& versions = found->second;
  auto same = std::ranges::find_if(versions, [&](const TranslatedBlock* b) {
    return !b->tail && b->guest.size() <= code.size() &&
           std::ranges::equal(b->guest, code.first(b->guest.size())) &&
           (b->ahead.empty() || std::memcmp(reinterpret_cast<const void*>(b->ahead_at),
                                            b->ahead.data(), b->ahead.size()) == 0);
  });
  if (same == versions.end()) return nullptr;
  TranslatedBlock* block = *same;
  versions.erase(same);
  if (versions.empty()) dropped_.erase(found);
  enlist(block);
  store_code(block->checked, block->checked_code);
  return block;
}

void BlockTable::enlist(TranslatedBlock* block) {
  block->live = true;
  blocks_[block->key] = block;
  enlist_in(block->key.physical, block->guest.size() - block->tail, block);
  pages_[block->key.physical >> 12].lines |= lines_ahead(*block);
  if (block->tail) enlist_in(block->tail_at, block->tail, block);
}

void BlockTable::enlist_in(u64 at, u64 size, TranslatedBlock* block) {
  PageCode& page = pages_[at >> 12];
  if (page.blocks.empty()) filter_[filter_index(at)].fetch_add(1);
  page.lines |= lines_of(at, size);
  page.blocks.push_back(block);
}

void BlockTable::delist(TranslatedBlock* block) {
  block->live = false;
  blocks_.erase(block->key);
  delist_from(block->key.physical, block);
  if (block->tail) delist_from(block->tail_at, block);
}

void BlockTable::delist_from(u64 at, TranslatedBlock* block) {
  auto found = pages_.find(at >> 12);
  PageCode& page = found->second;
  std::erase(page.blocks, block);
  page.lines = 0;
  for (TranslatedBlock* b : page.blocks) {
    if (b->key.physical >> 12 == at >> 12)
      page.lines |= lines_of(b->key.physical, b->guest.size() - b->tail) | lines_ahead(*b);
    if (b->tail && b->tail_at >> 12 == at >> 12) page.lines |= lines_of(b->tail_at, b->tail);
  }
  if (!page.blocks.empty()) return;
  if (!page.writes) pages_.erase(found);
  filter_[filter_index(at)].fetch_sub(1);
}

bool BlockTable::connect(const u8* field, TranslatedBlock* to) {
  TranslatedBlock* from = find_host(field);
  if (!from || !from->live || !to->live) return false;
  for (u32 i = 0; i < from->links.size(); i++) {
    TranslatedBlock::Link& link = from->links[i];
    if (from->code + link.field != field || link.to) continue;
    link.to = to;
    to->linked_from.push_back({from, i});
    point(from->code + link.field, link.flags_saved ? to->entry_saved : to->entry);
    connected_++;
    return true;
  }
  return false;
}

bool BlockTable::line_has_code(u64 physical, u64 size) const {
  auto page = pages_.find(physical >> 12);
  return page != pages_.end() && (page->second.lines & lines_of(physical, size));
}

size_t BlockTable::blocks_in_page(u64 physical) const {
  auto page = pages_.find(physical >> 12);
  return page == pages_.end() ? 0 : page->second.blocks.size();
}

size_t BlockTable::invalidate(u64 physical, u64 size) {
  auto found = pages_.find(physical >> 12);
  if (found == pages_.end() || !(found->second.lines & lines_of(physical, size))) return 0;
  std::vector<TranslatedBlock*> hit;
  for (TranslatedBlock* b : found->second.blocks)
    if (b->covers(physical, size)) hit.push_back(b);
  if (hit.empty()) return 0;
  const bool churns = ++found->second.writes > kManyWrites;
  if (churns && found->second.blocks.size() <= kFewBlocks) hit = found->second.blocks;
  for (TranslatedBlock* b : hit) {
    drop(b);
    std::vector<TranslatedBlock*>& versions = dropped_[b->key];
    if (versions.size() == kVersions) versions.erase(versions.begin());
    versions.push_back(b);
  }
  return hit.size();
}

// Neither leads the block anywhere else but to its own stubs from now on, nor anything to it.
void BlockTable::unlink(TranslatedBlock* block) {
  for (const TranslatedBlock::Inbound& in : block->linked_from) {
    TranslatedBlock::Link& link = in.from->links[in.link];
    link.to = nullptr;
    point(in.from->code + link.field, in.from->code + link.stub);
    connected_--;
  }
  block->linked_from.clear();
  for (u32 i = 0; i < block->links.size(); i++) {
    TranslatedBlock::Link& link = block->links[i];
    if (!link.to) continue;
    std::erase_if(link.to->linked_from, [&](const TranslatedBlock::Inbound& in) {
      return in.from == block && in.link == i;
    });
    link.to = nullptr;
    point(block->code + link.field, block->code + link.stub);
    connected_--;
  }
}

void BlockTable::drop(TranslatedBlock* block) {
  ensure(block->live, "a block is dropped once");
  unlink(block);
  store_code(block->checked, diverted(block->checked, block->checked_code, miss_));
  delist(block);
}

void BlockTable::retire(const u8* begin, const u8* end) {
  for (auto at = by_host_.lower_bound(begin); at != by_host_.end() && at->first < end; ++at) {
    TranslatedBlock* block = at->second.get();
    if (block->live) {
      drop(block);
      continue;
    }
    auto versions = dropped_.find(block->key);
    if (versions == dropped_.end()) continue;
    std::erase(versions->second, block);
    if (versions->second.empty()) dropped_.erase(versions);
  }
}

void BlockTable::forget(const u8* begin, const u8* end) {
  by_host_.erase(by_host_.lower_bound(begin), by_host_.lower_bound(end));
}

}  // namespace menura::jit
