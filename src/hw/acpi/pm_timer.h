// PmTimer: the ACPI power management timer: 24 bits that count at 3.579545 MHz.
//
// Owner: a power management chip (a member). Threads: under the machine lock. Source: ACPI 6.4
// §4.8.2.1. Time stands in nanoseconds of the queue's clock, converted without rounding drift: tick n
// begins at the first nanosecond not before n/3579545 s. Example:
//   PmTimer timer{time, [this] { update_sci(); }};   u32 value = timer.value();
#pragma once

#include <functional>

#include "base/result.h"
#include "base/types.h"
#include "event/timer.h"

namespace menura {

class PmTimer {
 public:
  static constexpr u64 kFrequency = 3'579'545;  // Hz
  static constexpr unsigned kBits = 24;

  // on_overflow is called when the status comes up while it is watched.
  PmTimer(TimerQueue& time, std::function<void()> on_overflow);

  // Ticks that have begun after ns nanoseconds, and when a tick begins.
  static u64 ticks_at(i64 ns);
  static i64 start_of(u64 tick);

  u32 value() const;
  // Whether the most significant bit has toggled since the last clear: TMROF_STS.
  bool overflowed() const { return ticks() >= next_toggle_; }
  void clear_overflow();
  // While watched, the coming overflow wakes on_overflow.
  void watch(bool on);
  // PCI reset: the count begins at zero.
  void reset();
  void describe(StateVisitor& v);
  // Refuses counts that no guest could have brought about.
  Result<void> restored();

 private:
  u64 ticks() const { return ticks_at(time_.now_ns() - origin_ns_); }
  void arm();

  // Wiring
  TimerQueue& time_;
  Timer alarm_;

  // State
  i64 origin_ns_ = 0;
  u64 next_toggle_ = u64{1} << (kBits - 1);  // in ticks since the origin
  bool watched_ = false;
};

}  // namespace menura
