#include "jit/run/block_table.h"

#include <algorithm>
#include <atomic>

#include "base/bits.h"
#include "base/bytes.h"

namespace menura::jit {

namespace {

// A bit for each 64-byte line of its page that [at, at + size) touches; it stays in one page.
u64 lines_of(u64 at, u64 size) {
  const unsigned first = (at >> 6) & 63;
  const unsigned last = ((at + (size ? size - 1 : 0)) >> 6) & 63;
  return low_mask(last + 1) & ~low_mask(first);
}

// Other threads may be running here: one aligned store.
void point(u8* field, const u8* to) {
  const u32 displacement = static_cast<u32>(to - (field + 4));
  std::atomic_ref<u32>(*reinterpret_cast<u32*>(field))
      .store(displacement, std::memory_order_release);
}

// Replaces the first 5 bytes of an 8-byte aligned entry by a jump.
void divert(u8* entry, const u8* to) {
  u64 bytes = load_raw<u64>(entry);
  bytes &= ~low_mask(40);
  bytes |= 0xe9 | static_cast<u64>(static_cast<u32>(to - (entry + 5))) << 8;
  std::atomic_ref<u64>(*reinterpret_cast<u64*>(entry)).store(bytes, std::memory_order_release);
}

}  // namespace

const SiteRecord* TranslatedBlock::site_at(const u8* host) const {
  for (const SiteRecord& site : sites)
    if (code + site.offset == host) return &site;
  return nullptr;
}

TranslatedBlock* BlockTable::find(const ir::Key& key) const {
  auto found = blocks_.find(key);
  return found == blocks_.end() ? nullptr : found->second.get();
}

TranslatedBlock* BlockTable::find_host(const u8* code) const {
  auto after = by_host_.upper_bound(code);
  if (after == by_host_.begin()) return nullptr;
  TranslatedBlock* block = std::prev(after)->second;
  return code < block->code + block->size ? block : nullptr;
}

TranslatedBlock* BlockTable::add(std::unique_ptr<TranslatedBlock> block) {
  TranslatedBlock* raw = block.get();
  by_host_[raw->code] = raw;
  PageCode& page = pages_[raw->key.physical >> 12];
  page.lines |= lines_of(raw->key.physical, raw->bytes);
  page.blocks.push_back(raw);
  blocks_[raw->key] = std::move(block);
  return raw;
}

void BlockTable::add_link(TranslatedBlock* from, u8* field, u8* stub, u64 pc, bool flags_saved) {
  from->links.push_back(next_link());
  links_.push_back({from, field, stub, pc, flags_saved, nullptr});
}

void BlockTable::connect(u32 number, TranslatedBlock* to) {
  Link& link = links_[number];
  if (!link.from || link.to) return;
  link.to = to;
  to->linked_to.push_back(number);
  point(link.field, link.flags_saved ? to->entry_saved : to->entry);
}

bool BlockTable::line_has_code(u64 physical, u64 size) const {
  auto page = pages_.find(physical >> 12);
  return page != pages_.end() && (page->second.lines & lines_of(physical, size));
}

bool BlockTable::invalidate(u64 physical, u64 size, const u8* miss) {
  auto found = pages_.find(physical >> 12);
  if (found == pages_.end()) return false;
  PageCode& page = found->second;
  if (!(page.lines & lines_of(physical, size))) return false;
  std::vector<TranslatedBlock*> hit;
  std::erase_if(page.blocks, [&](TranslatedBlock* b) {
    const bool gone = b->covers(physical, size);
    if (gone) hit.push_back(b);
    return gone;
  });
  page.lines = 0;
  for (TranslatedBlock* b : page.blocks) page.lines |= lines_of(b->key.physical, b->bytes);
  if (page.blocks.empty()) pages_.erase(found);
  for (TranslatedBlock* b : hit) drop(b, miss);
  return !hit.empty();
}

void BlockTable::drop(TranslatedBlock* block, const u8* miss) {
  for (u32 number : block->linked_to) {
    Link& link = links_[number];
    if (link.to != block) continue;
    link.to = nullptr;
    if (link.from) point(link.field, link.stub);
  }
  for (u32 number : block->links) {
    Link& link = links_[number];
    if (link.to) std::erase(link.to->linked_to, number);
    link.from = nullptr;
    link.to = nullptr;
  }
  divert(block->checked, miss);
  by_host_.erase(block->code);
  blocks_.erase(block->key);
}

std::pair<u64, u64> BlockTable::count_links() const {
  u64 living = 0, connected = 0;
  for (const Link& link : links_) {
    living += link.from != nullptr;
    connected += link.to != nullptr;
  }
  return {living, connected};
}

std::vector<u64> BlockTable::code_pages() const {
  std::vector<u64> pages;
  for (const auto& [page, code] : pages_) pages.push_back(page << 12);
  return pages;
}

void BlockTable::clear() {
  blocks_.clear();
  by_host_.clear();
  pages_.clear();
  links_.clear();
}

}  // namespace menura::jit
