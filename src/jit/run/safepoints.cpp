#include "jit/run/safepoints.h"

#include <algorithm>
#include <chrono>

namespace menura::jit {

void Safepoints::join(Member& member) {
  const std::lock_guard guard(mutex_);
  members_.push_back(&member);
  count_ = static_cast<u32>(members_.size());
}

void Safepoints::leave(Member& member) {
  const std::lock_guard guard(mutex_);
  std::erase(members_, &member);
  count_ = static_cast<u32>(members_.size());
  changed_.notify_all();
}

void Safepoints::begin(Member& me) {
  std::unique_lock guard(mutex_);
  changed_.wait(guard, [&] { return !exclusive_; });
  me.still_ = false;
  me.seen_.store(epoch_.load(std::memory_order_acquire), std::memory_order_release);
}

void Safepoints::end(Member& me) {
  const std::lock_guard guard(mutex_);
  me.still_ = true;
  me.seen_.store(Member::kOutside, std::memory_order_release);
  changed_.notify_all();
}

void Safepoints::stand_still(Member& me) {
  std::unique_lock guard(mutex_);
  me.still_ = true;
  changed_.notify_all();
  changed_.wait(guard, [&] { return !exclusive_; });
  me.still_ = false;
}

bool Safepoints::others_passed(u64 epoch, const Member& me) const {
  return std::ranges::all_of(members_, [&](const Member* m) {
    return m == &me || m->seen_.load(std::memory_order_acquire) >= epoch;
  });
}

bool Safepoints::others_still(const Member& me) const {
  return std::ranges::all_of(members_, [&](const Member* m) { return m == &me || m->still_; });
}

bool Safepoints::passed(u64 epoch, const Member& me) const {
  if (alone()) return true;
  const std::lock_guard guard(mutex_);
  return others_passed(epoch, me);
}

void Safepoints::hurry(u64 epoch, const Member& me) const {
  const std::lock_guard guard(mutex_);
  for (const Member* m : members_)
    if (m != &me && m->seen_.load(std::memory_order_acquire) < epoch) m->kick_();
}

// pass() tells nobody, so this looks again and again; it is rare, and the others are close.
void Safepoints::wait_passed(u64 epoch, Member& me) {
  std::unique_lock guard(mutex_);
  me.still_ = true;
  me.seen_.store(Member::kOutside, std::memory_order_release);
  changed_.notify_all();
  while (!others_passed(epoch, me)) {
    for (const Member* m : members_)
      if (m->seen_.load(std::memory_order_acquire) < epoch) m->kick_();
    changed_.wait_for(guard, std::chrono::microseconds(50));
  }
  changed_.wait(guard, [&] { return !exclusive_; });
  me.still_ = false;
  me.seen_.store(epoch_.load(std::memory_order_acquire), std::memory_order_release);
}

Safepoints::Exclusive::Exclusive(Safepoints& safepoints, Member& me) : all_(safepoints) {
  std::unique_lock guard(all_.mutex_);
  // One at a time: meanwhile this member stands still for the other.
  me.still_ = true;
  all_.changed_.notify_all();
  all_.changed_.wait(guard, [&] { return !all_.exclusive_; });
  me.still_ = false;
  all_.exclusive_ = true;
  all_.sections_.fetch_add(1, std::memory_order_relaxed);
  for (const Member* m : all_.members_)
    if (m != &me && !m->still_) m->kick_();
  all_.changed_.wait(guard, [&] { return all_.others_still(me); });
}

Safepoints::Exclusive::~Exclusive() {
  const std::lock_guard guard(all_.mutex_);
  all_.exclusive_ = false;
  all_.changed_.notify_all();
}

}  // namespace menura::jit
