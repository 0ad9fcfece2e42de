// BlockTable: the translated blocks of one code cache: look-up by key, by host address and by
// physical page, links between them, and invalidation.
//
// Owner: one vCPU's engine. Threads: one. Addresses of host code are those of the writable alias.
// Example:
//   if (TranslatedBlock* b = table.find(key)) enter(b->entry);
//   table.invalidate(physical, size);   // the guest wrote there
#pragma once

#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
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
  ir::Key key;
  u64 bytes = 0;  // of guest code, all in one page
  u8* code = nullptr;
  u32 size = 0;
  u8* entry = nullptr;        // flags in the host's
  u8* entry_saved = nullptr;  // flags in the vCPU block
  u8* checked = nullptr;
  std::vector<SiteRecord> sites;
  std::vector<u64> pcs;        // of the instructions, and the end
  std::vector<u32> links;      // out of it
  std::vector<u32> linked_to;  // into it
  u64 runs = 0;
  bool covers(u64 physical, u64 length) const {
    return physical < key.physical + bytes && key.physical < physical + length;
  }
  const SiteRecord* site_at(const u8* host) const;
};

class BlockTable {
 public:
  TranslatedBlock* find(const ir::Key& key) const;
  TranslatedBlock* find_host(const u8* code) const;

  TranslatedBlock* add(std::unique_ptr<TranslatedBlock> block);
  // Links are numbered in order of their making.
  u32 next_link() const { return static_cast<u32>(links_.size()); }
  void add_link(TranslatedBlock* from, u8* field, u8* stub, u64 pc, bool flags_saved);
  struct Link {
    TranslatedBlock* from;
    u8* field;
    u8* stub;
    u64 pc;
    bool flags_saved;
    TranslatedBlock* to;
  };
  Link* link(u32 number) { return number < links_.size() ? &links_[number] : nullptr; }
  void connect(u32 number, TranslatedBlock* to);

  // Whether [physical, physical + size) touches a 64-byte line with code, and whether its page
  // holds any code at all.
  bool line_has_code(u64 physical, u64 size) const;
  bool page_has_code(u64 physical) const { return pages_.contains(physical >> 12); }
  // Drops the blocks on the lines touched; true when there were any. `miss` is where their checked
  // entries lead from now on.
  bool invalidate(u64 physical, u64 size, const u8* miss);
  // All pages with code, for whoever must compare them with dirty bitmaps.
  std::vector<u64> code_pages() const;
  void clear();
  size_t size() const { return blocks_.size(); }
  // Links of living blocks, and how many of them lead to their target.
  std::pair<u64, u64> count_links() const;

 private:
  struct KeyHash {
    size_t operator()(const ir::Key& k) const {
      u64 h = k.physical * 0x9e3779b97f4a7c15 ^ k.pc * 0xc2b2ae3d27d4eb4f ^ k.code_base ^ k.mode;
      return h ^ h >> 29;
    }
  };
  struct PageCode {
    u64 lines = 0;  // a bit per 64 bytes
    std::vector<TranslatedBlock*> blocks;
  };
  void drop(TranslatedBlock* block, const u8* miss);

  std::unordered_map<ir::Key, std::unique_ptr<TranslatedBlock>, KeyHash> blocks_;
  std::map<const u8*, TranslatedBlock*> by_host_;
  std::unordered_map<u64, PageCode> pages_;
  std::vector<Link> links_;
};

}  // namespace menura::jit
