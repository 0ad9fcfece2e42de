// InFlight: ranges of the guest that are being given new places; whoever wants to touch them waits.
// Epochs: transfers that still use the places they looked up; whoever frees places waits for those.
//
// Owner: Qcow2Image. Threads: InFlight under its metadata lock; Epochs on any.
// Example: `in_flight.wait(lock, first, end);  in_flight.add(first, end);  …  in_flight.remove(first);`
#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "base/types.h"

namespace menura::qcow2 {

class InFlight {
 public:
  // Where the first range that overlaps begins; `end` when none does.
  u64 first_overlap(u64 begin, u64 end) const {
    u64 first = end;
    for (const Range& range : ranges_)
      if (range.begin < end && begin < range.end)
        first = std::min(first, std::max(begin, range.begin));
    return first;
  }
  void wait(std::unique_lock<std::mutex>& lock, u64 begin, u64 end) {
    changed_.wait(lock, [&] { return first_overlap(begin, end) == end; });
  }
  void wait_for_any(std::unique_lock<std::mutex>& lock) { changed_.wait(lock); }
  void wait_for_all(std::unique_lock<std::mutex>& lock) {
    changed_.wait(lock, [&] { return ranges_.empty(); });
  }
  void add(u64 begin, u64 end) { ranges_.push_back({begin, end}); }
  void remove(u64 begin) {
    std::erase_if(ranges_, [&](const Range& range) { return range.begin == begin; });
    changed_.notify_all();
  }

 private:
  struct Range {
    u64 begin, end;
  };
  std::vector<Range> ranges_;
  std::condition_variable changed_;
};

class Epochs {
 public:
  unsigned enter() {
    const std::lock_guard guard(mutex_);
    users_[now_]++;
    return now_;
  }
  void leave(unsigned epoch) {
    const std::lock_guard guard(mutex_);
    if (--users_[epoch] == 0) left_.notify_all();
  }
  // Returns when everybody who had entered before the call has left. One caller at a time.
  void wait() {
    std::unique_lock guard(mutex_);
    const unsigned old = std::exchange(now_, 1 - now_);
    left_.wait(guard, [&] { return users_[old] == 0; });
  }

  class Stay {
   public:
    explicit Stay(Epochs& epochs) : epochs_(epochs), epoch_(epochs.enter()) {}
    ~Stay() { epochs_.leave(epoch_); }
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;

   private:
    Epochs& epochs_;
    const unsigned epoch_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  unsigned users_[2] = {};
  unsigned now_ = 0;
};

}  // namespace menura::qcow2
