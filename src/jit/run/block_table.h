// BlockTable: the translated blocks: look-up by key, by host address and by page of guest memory,
// the direct jumps between them, and invalidation when the guest changes its code.
//
// Owner: Translations. Threads: under its lock, except may_have_code(). Host addresses are those of
// the writable alias; code that others run is changed by single aligned stores only.
// Example:
//   if (TranslatedBlock* b = table.find(key)) enter(b->checked);
//   table.invalidate(physical, size);   // the guest wrote there
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "jit/ir/block.h"

namespace menura::jit {

struct SiteRecord {
  u32 offset;  // from the block's first byte
  u16 insn;
  bool flags_saved;
  u16 borrowed;
};

struct TranslatedBlock {
  // A direct jump out of the block: a 32-bit displacement, and where it leads when not linked.
  struct Link {
    u32 field = 0;  // offsets from the block's first byte
    u32 stub = 0;
    bool flags_saved = false;
    TranslatedBlock* to = nullptr;
  };
  struct Inbound {
    TranslatedBlock* from;
    u32 link;
  };

  ir::Key key;
  std::vector<u8> guest;  // the code translated
  u32 tail = 0;           // how much of it lies in a second page,
  u64 tail_at = 0;        // which begins here
  std::vector<u8> ahead;  // code of the same page that is not translated here but counted upon,
  u64 ahead_at = 0;       // at this address
  u8* code = nullptr;
  u32 size = 0;
  u8* entry = nullptr;        // flags in the host's
  u8* entry_saved = nullptr;  // flags in the vCPU block
  u8* checked = nullptr;      // 8-byte aligned
  std::vector<SiteRecord> sites;
  std::vector<u64> pcs;  // of the instructions, and the end
  std::vector<Link> links;
  std::vector<Inbound> linked_from;
  u64 checked_code = 0;  // the first 8 bytes there, while it lives
  bool live = false;  // may be entered; else it waits to be revived or for its memory to be reused

  bool covers(u64 physical, u64 length) const {
    const bool first =
        physical < key.physical + guest.size() - tail && key.physical < physical + length;
    const bool looked_at = physical < ahead_at + ahead.size() && ahead_at < physical + length;
    return first || looked_at || (tail && physical < tail_at + tail && tail_at < physical + length);
  }
  const SiteRecord* site_at(const u8* host) const;
};

class BlockTable {
 public:
  // `miss` is where the checked entries of dropped blocks lead; in the writable alias.
  explicit BlockTable(const u8* miss) : miss_(miss) {}

  TranslatedBlock* find(const ir::Key& key) const;
  TranslatedBlock* find_host(const u8* code) const;
  TranslatedBlock* add(std::unique_ptr<TranslatedBlock> block);
  // A dropped block of this key whose bytes were the same, alive again; null if there is none.
  TranslatedBlock* revive(const ir::Key& key, std::span<const u8> code);
  // Points the jump whose displacement is `field` at a block; if both are alive.
  bool connect(const u8* field, TranslatedBlock* to);

  // Whether the page at this address may hold code: a hint that never misses. Any thread.
  bool may_have_code(u64 physical) const {
    return filter_[filter_index(physical)].load(std::memory_order_seq_cst) != 0;
  }
  // Whether [physical, physical + size) touches a 64-byte line with code; it stays in one page.
  bool line_has_code(u64 physical, u64 size) const;
  size_t blocks_in_page(u64 physical) const;
  // Drops the blocks that cover the bytes, inside one page; all of the page's when it is written
  // again and again, so that the writes to come go fast. How many there were.
  size_t invalidate(u64 physical, u64 size);
  void drop(TranslatedBlock* block);
  // Drops the blocks whose code lies in [begin, end), for ever; then, when nobody can be in there
  // any more, forgets them.
  void retire(const u8* begin, const u8* end);
  void forget(const u8* begin, const u8* end);

  size_t size() const { return blocks_.size(); }
  u64 connected() const { return connected_; }  // jumps that lead to their targets
  template <class Visit>
  void each(Visit visit) const {
    for (const auto& [key, block] : blocks_) visit(*block);
  }

 private:
  struct KeyHash {
    size_t operator()(const ir::Key& k) const {
      const u64 h = (k.physical + k.code_base) * 0x9e3779b97f4a7c15 ^ (k.pc + k.mode);
      return (h ^ h >> 32) * 0xc2b2ae3d27d4eb4f >> 20;
    }
  };
  struct PageCode {
    u64 lines = 0;   // a bit per 64 bytes
    u32 writes = 0;  // that hit blocks; such a page is remembered without blocks
    std::vector<TranslatedBlock*> blocks;
  };
  static constexpr size_t kFilterBits = 17;
  static size_t filter_index(u64 physical) {
    return (physical >> 12) * 0x9e3779b97f4a7c15 >> (64 - kFilterBits);
  }
  void enlist(TranslatedBlock* block);
  void enlist_in(u64 at, u64 size, TranslatedBlock* block);
  void delist_from(u64 at, TranslatedBlock* block);
  void delist(TranslatedBlock* block);
  void unlink(TranslatedBlock* block);

  const u8* miss_;
  std::unordered_map<ir::Key, TranslatedBlock*, KeyHash> blocks_;  // those alive
  std::map<const u8*, std::unique_ptr<TranslatedBlock>> by_host_;  // all
  std::unordered_map<ir::Key, std::vector<TranslatedBlock*>, KeyHash> dropped_;
  std::unordered_map<u64, PageCode> pages_;
  std::array<std::atomic<u16>, size_t{1} << kFilterBits> filter_{};  // pages with code, by hash
  u64 connected_ = 0;
};

}  // namespace menura::jit
