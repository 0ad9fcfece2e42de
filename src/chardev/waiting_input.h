// WaitingInput: bytes for a sink that has no room for them yet, inside this room.
//
// Owner: its chardev. Threads: as Chardev. A sink may call accept_input() from receive().
// Example: `waiting_.add(bytes); waiting_.deliver(sink_);`
#pragma once

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "io/chardev.h"

namespace menura {

class WaitingInput {
 public:
  size_t size() const { return bytes_.size(); }
  void add(ConstBytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  // Gives the sink (null: nobody) as much as it has room for. By reference, because a sink may
  // detach itself.
  void deliver(CharSink* const& sink) {
    if (std::exchange(delivering_, true)) return;  // the loop below goes on by itself
    while (sink && !bytes_.empty()) {
      const size_t size = std::min(sink->room(), bytes_.size());
      if (size == 0) break;
      const std::vector<std::byte> chunk = take(size);
      sink->receive(chunk);
    }
    delivering_ = false;
  }
  // The oldest bytes; size() at most.
  std::vector<std::byte> take(size_t size) {
    const auto end = bytes_.begin() + static_cast<std::ptrdiff_t>(size);
    std::vector<std::byte> chunk(bytes_.begin(), end);
    bytes_.erase(bytes_.begin(), end);
    return chunk;
  }

 private:
  std::deque<std::byte> bytes_;
  bool delivering_ = false;
};

}  // namespace menura
