// Clocks: sources of nanoseconds for timers.
//
// Owner: event. Threads: now_ns() may be called from any thread; changes happen under the machine
// lock. The virtual clock stops while the machine is paused and can be stepped by hand (qtest,
// tests, replay). Example: `VirtualClock clock(tape); clock.start(); i64 t = clock.now_ns();`
#pragma once

#include <atomic>
#include <functional>

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
  bool running() const { return (state_.load(std::memory_order_relaxed) & kRunning) != 0; }
  void start();
  void stop();
  // Moves a stopped clock forward to ns (no effect when ns lies in the past).
  void advance_to(i64 ns);
  // Restores a saved time, either way. The clock must be stopped.
  void restore(i64 ns);
  // Called after each start(): deadlines that stood still now come nearer.
  void on_start(std::function<void()> notify) { on_start_ = std::move(notify); }

 private:
  // One word, so that a reader never sees half of a start or stop: bit 0 is kRunning, the rest the
  // host time at virtual zero (running) or the virtual time (stopped).
  static constexpr i64 kRunning = 1;
  i64 base() const { return state_.load(std::memory_order_relaxed) >> 1; }
  Tape& tape_;
  std::function<void()> on_start_;
  std::atomic<i64> state_{0};
};

}  // namespace menura
