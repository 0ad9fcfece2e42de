#include "event/timer.h"

#include "base/check.h"

namespace menura {

TimerQueue::~TimerQueue() { ensure(armed_.empty(), "timers outlive their queue"); }

i64 TimerQueue::next_deadline() const { return armed_.empty() ? kNever : armed_.begin()->deadline; }

size_t TimerQueue::run_expired() {
  ensure(!running_, "run_expired() is not called by a timer");
  const i64 now = clock_.now_ns();
  const u64 first_new_sequence = next_sequence_;
  size_t ran = 0;
  // Timers armed by callbacks have later sequences and wait for the next call.
  for (auto it = armed_.begin(); it != armed_.end() && it->deadline <= now;) {
    if (it->sequence >= first_new_sequence) {
      ++it;
      continue;
    }
    Timer* timer = it->timer;
    armed_.erase(it);
    timer->deadline_ = kNever;
    run(*timer);
    ran++;
    it = armed_.begin();  // the callback may have changed anything
  }
  // Only now: until its callback is through, a timer that has come is still owed.
  publish();
  return ran;
}

// The closure stands on our stack while it runs, because it may destroy its timer.
void TimerQueue::run(Timer& timer) {
  running_ = &timer;
  std::function<void()> expired = std::move(timer.expired_);
  expired();
  if (running_ == &timer) timer.expired_ = std::move(expired);
  running_ = nullptr;
}

Timer::~Timer() {
  cancel();
  if (queue_.running_ == this) queue_.running_ = nullptr;
}

void Timer::arm(i64 deadline_ns) {
  cancel();
  if (deadline_ns == TimerQueue::kNever) return;
  const bool earlier = deadline_ns < queue_.next_deadline();
  deadline_ = deadline_ns;
  sequence_ = queue_.next_sequence_++;
  queue_.armed_.insert({deadline_, sequence_, this});
  if (!queue_.running_) queue_.publish();
  if (earlier && queue_.on_earlier_) queue_.on_earlier_();
}

void Timer::cancel() {
  if (!armed()) return;
  queue_.armed_.erase({deadline_, sequence_, this});
  if (!queue_.running_) queue_.publish();
  deadline_ = TimerQueue::kNever;
}

void Timer::describe(StateVisitor& v) {
  i64 deadline = deadline_;
  v.field("deadline_ns", deadline);
  if (v.loading()) arm(deadline);
}

}  // namespace menura
