// RateLimit: how long somebody who moves bytes must wait, so that they are not too many a second.
//
// Owner: jobs, tools. Threads: any, locked inside. Example: `sleep_for(limit.delay_of(piece.size()));`
#pragma once

#include <algorithm>
#include <chrono>
#include <mutex>

#include "base/types.h"

namespace menura {

class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;
  // Bytes a second; 0: as many as there are.
  explicit RateLimit(u64 rate = 0) : rate_(rate) {}
  void set(u64 rate) {
    const std::lock_guard guard(mutex_);
    rate_ = rate;
    free_at_ = {};
  }
  u64 rate() const {
    const std::lock_guard guard(mutex_);
    return rate_;
  }
  // They count from here on; the next ones wait for them.
  Clock::duration delay_of(u64 bytes) {
    const std::lock_guard guard(mutex_);
    if (rate_ == 0) return {};
    const Clock::time_point now = Clock::now();
    const Clock::time_point start = std::max(now, free_at_);
    const double seconds = static_cast<double>(bytes) / static_cast<double>(rate_);
    free_at_ = start + std::chrono::duration_cast<Clock::duration>(
                           std::chrono::duration<double>(std::min(seconds, 1e6)));
    return start - now;
  }

 private:
  mutable std::mutex mutex_;
  u64 rate_;
  Clock::time_point free_at_{};
};

}  // namespace menura
