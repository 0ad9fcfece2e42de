// GuestTsc: the time stamp counter that all vCPUs of a machine share: the host's, from a common
// beginning, as the processors of one board count from a common reset.
//
// Owner: JitShared. Threads: any. Spec: Intel SDM vol. 3 §18.17 (invariant TSC, synchronous across
// processors). Example: `tsc_offset_ = tsc.offset_for(saved_value);`
#pragma once

#include <mutex>

#include "base/types.h"

namespace menura::engine {

class GuestTsc {
 public:
  GuestTsc(u64 host_now, u64 khz) : khz_(khz), power_on_(0 - host_now), last_(power_on_) {}

  // Guest TSC less host TSC, from the machine's start.
  u64 at_power_on() const { return power_on_; }
  // The offset that makes the guest's TSC read `value` now. Values for several vCPUs, saved or
  // loaded one after another, are of one moment: what differs by less than a second from the
  // counter set last is taken to be in step with it.
  u64 offset_for(u64 value, u64 host_now) {
    const std::lock_guard guard(mutex_);
    const i64 apart = static_cast<i64>(value - (host_now + last_));
    const i64 second = static_cast<i64>(khz_) * 1000;
    if (apart > second || apart < -second) last_ = value - host_now;
    return last_;
  }

 private:
  const u64 khz_;
  const u64 power_on_;
  std::mutex mutex_;
  u64 last_;  // guarded by mutex_
};

}  // namespace menura::engine
