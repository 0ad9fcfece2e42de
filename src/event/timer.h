// Timers of one clock, kept in order of deadline.
//
// Owner: event. Threads: everything under the machine lock. Callbacks run in deadline order, equal
// deadlines in the order of arming: a total order that replay can repeat.
// Example: `Timer tick{time, [this] { on_tick(); }};  tick.arm(time.now_ns() + period_ns);`
#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <set>

#include "base/types.h"
#include "event/clock.h"
#include "state/visitor.h"

namespace menura {

class Timer;

class TimerQueue {
 public:
  static constexpr i64 kNever = std::numeric_limits<i64>::max();

  explicit TimerQueue(const Clock& clock) : clock_(clock) {}
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  i64 now_ns() const { return clock_.now_ns(); }
  // kNever when no timer is armed.
  i64 next_deadline() const;
  // Runs every timer whose deadline has come; timers armed by the callbacks wait for the next call,
  // so a timer that re-arms itself in the past cannot hang us. Returns how many ran. Not to be
  // called by a callback.
  size_t run_expired();
  // Whether some timer's time has come that has not run yet. Any thread, a hint without the lock:
  // who shows the clock to a guest lets such timers run first (run_overdue), so that a guest never
  // sees a time past a deadline whose interrupt a busy host still owes it.
  bool overdue() const { return earliest_.load(std::memory_order_relaxed) <= clock_.now_ns(); }
  // run_expired(), unless a callback is under way that let go of the lock.
  void run_overdue() {
    if (!running_) run_expired();
  }
  // Called (under the machine lock) whenever the next deadline moves earlier: wakes the loop.
  void on_earlier(std::function<void()> notify) { on_earlier_ = std::move(notify); }

 private:
  friend class Timer;
  struct Entry {
    i64 deadline;
    u64 sequence;
    Timer* timer;
    bool operator<(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence;
    }
  };

  void run(Timer& timer);
  void publish() { earliest_.store(next_deadline(), std::memory_order_relaxed); }

  const Clock& clock_;
  std::set<Entry> armed_;
  std::atomic<i64> earliest_{kNever};  // next_deadline(), for those without the lock
  Timer* running_ = nullptr;           // whose callback is on the stack; null if that destroyed it
  u64 next_sequence_ = 0;
  std::function<void()> on_earlier_;
};

class Timer {
 public:
  Timer(TimerQueue& queue, std::function<void()> expired)
      : queue_(queue), expired_(std::move(expired)) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Absolute, on the queue's clock; replaces an earlier deadline.
  void arm(i64 deadline_ns);
  void cancel();
  bool armed() const { return deadline_ != TimerQueue::kNever; }
  // TimerQueue::kNever when not armed.
  i64 deadline() const { return deadline_; }
  // Saves the deadline; loading re-arms.
  void describe(StateVisitor& v);

 private:
  friend class TimerQueue;
  TimerQueue& queue_;
  std::function<void()> expired_;
  i64 deadline_ = TimerQueue::kNever;
  u64 sequence_ = 0;
};

}  // namespace menura
