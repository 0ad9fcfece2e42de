// Clocks: sources of nanoseconds for timers.
//
// Owner: event. Threads: now_ns() may be called from any thread; changes happen under the machine
// lock. The virtual clock stops while the machine is paused and can be stepped by hand (qtest,
// tests, replay). Example: `VirtualClock clock(tape); clock.start(); i64 t = clock.now_ns();`
#pragma once

#include <atomic>

#include "base/types.h"

namespace menura {

class Tape;

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since an arbitrary zero; never goes back.
  virtual i64 now_ns() const = 0;
};

// The host's monotonic clock, read through the Tape's door.
class HostClock final : public Clock {
 public:
  explicit HostClock(Tape& tape) : tape_(tape) {}
  i64 now_ns() const override;

 private:
  Tape& tape_;
};

// Guest time: begins at 0, runs while started, stands while stopped.
class VirtualClock final : public Clock {
 public:
  // Stopped at first.
  explicit VirtualClock(Tape& tape) : tape_(tape) {}
  i64 now_ns() const override;
  bool running() const { return running_.load(std::memory_order_relaxed); }
  void start();
  void stop();
  // Moves a stopped clock forward to ns (no effect when ns lies in the past).
  void advance_to(i64 ns);
  // Restores a saved time, either way. The clock must be stopped.
  void restore(i64 ns);

 private:
  Tape& tape_;
  std::atomic<bool> running_{false};
  std::atomic<i64> base_{0};  // running: host time at virtual zero, stopped: the virtual time
};

}  // namespace menura
