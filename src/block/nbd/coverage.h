// Coverage: which bytes of a read have come, whatever order a server sends them in.
//
// Owner: a request. Threads: a value. Example: `if (!seen.add(offset, length)) return broken();`
#pragma once

#include <map>

#include "base/types.h"

namespace menura {

class Coverage {
 public:
  // False: some of these bytes came before, or there are too many pieces to be sincere.
  bool add(u64 begin, u64 length) {
    const u64 end = begin + length;
    auto next = pieces_.lower_bound(begin);
    if (next != pieces_.end() && next->first < end) return false;
    auto mine = pieces_.end();
    if (next != pieces_.begin()) {
      const auto before = std::prev(next);
      if (before->second > begin) return false;
      if (before->second == begin) before->second = end, mine = before;
    }
    if (mine == pieces_.end()) {
      if (pieces_.size() == kMostPieces) return false;
      mine = pieces_.emplace_hint(next, begin, end);
    }
    if (next != pieces_.end() && next->first == end) {
      mine->second = next->second;
      pieces_.erase(next);
    }
    return true;
  }
  bool is(u64 begin, u64 length) const {
    if (length == 0) return pieces_.empty();
    return pieces_.size() == 1 && pieces_.begin()->first == begin &&
           pieces_.begin()->second == begin + length;
  }

 private:
  static constexpr size_t kMostPieces = 65'536;
  std::map<u64, u64> pieces_;  // begin to end, not touching each other
};

}  // namespace menura
