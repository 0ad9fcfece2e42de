#include "event/clock.h"

#include "base/check.h"
#include "event/tape.h"

namespace menura {

i64 HostClock::now_ns() const { return tape_.host_clock_ns(); }

i64 VirtualClock::now_ns() const {
  // A reader racing with start/stop sees the time before or after it; vCPUs are paused around both.
  const i64 base = base_.load(std::memory_order_acquire);
  return running_.load(std::memory_order_acquire) ? tape_.host_clock_ns() - base : base;
}

void VirtualClock::start() {
  if (running()) return;
  base_.store(tape_.host_clock_ns() - base_.load(), std::memory_order_release);
  running_.store(true, std::memory_order_release);
}

void VirtualClock::stop() {
  if (!running()) return;
  const i64 now = now_ns();
  running_.store(false, std::memory_order_release);
  base_.store(now, std::memory_order_release);
}

void VirtualClock::advance_to(i64 ns) {
  ensure(!running(), "only a stopped clock is advanced by hand");
  if (ns > base_.load()) base_.store(ns, std::memory_order_release);
}

void VirtualClock::restore(i64 ns) {
  ensure(!running(), "only a stopped clock is restored");
  base_.store(ns, std::memory_order_release);
}

}  // namespace menura
