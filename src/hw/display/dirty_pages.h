// DirtyPages: which pages of video memory were written since the picture was drawn last.
//
// Owner: the card that draws. Threads: under the machine lock.
// Example: `if (pages.touches(line * pitch, pitch)) draw(line);`
#pragma once

#include <algorithm>
#include <vector>

#include "memory/ram.h"

namespace menura {

class DirtyPages {
 public:
  static DirtyPages everything() { return DirtyPages(true, {}); }
  // Takes the account of the block's Display client, which must be on.
  static DirtyPages take(RamBlock& block) {
    if (!block.take_any_dirty(DirtyClient::Display)) return DirtyPages(false, {});
    return DirtyPages(false, block.take_dirty(DirtyClient::Display, 0, block.size()));
  }
  bool all() const { return all_; }
  bool none() const { return !all_ && words_.empty(); }
  bool touches(u64 at, u64 length) const {
    if (all_ || words_.empty() || length == 0) return all_;
    const u64 last = std::min<u64>((at + length - 1) / kPageSize, words_.size() * 64 - 1);
    for (u64 page = at / kPageSize; page <= last; page++)
      if ((words_[page / 64] >> (page % 64)) & 1) return true;
    return false;
  }

 private:
  DirtyPages(bool all, std::vector<u64> words) : all_(all), words_(std::move(words)) {}
  bool all_;
  std::vector<u64> words_;
};

}  // namespace menura
