#include "event/clock.h"

#include "base/check.h"
#include "event/tape.h"

namespace menura {

i64 HostClock::now_ns() const { return tape_.host_clock_ns(); }

i64 VirtualClock::now_ns() const {
  const i64 state = state_.load(std::memory_order_acquire);
  return state & kRunning ? tape_.host_clock_ns() - (state >> 1) : state >> 1;
}

void VirtualClock::start() {
  if (running()) return;
  const i64 zero = tape_.host_clock_ns() - base();
  state_.store(zero * 2 + kRunning, std::memory_order_release);
  if (on_start_) on_start_();
}

void VirtualClock::stop() {
  if (running()) state_.store(now_ns() * 2, std::memory_order_release);
}

void VirtualClock::advance_to(i64 ns) {
  ensure(!running(), "only a stopped clock is advanced by hand");
  if (ns > base()) state_.store(ns * 2, std::memory_order_release);
}

void VirtualClock::restore(i64 ns) {
  ensure(!running(), "only a stopped clock is restored");
  state_.store(ns * 2, std::memory_order_release);
}

}  // namespace menura
