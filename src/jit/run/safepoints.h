// Safepoints: how the threads that run translated code agree with each other without locks on the
// way: grace periods ("everybody has been between two blocks since") and the exclusive section
// ("everybody else stands still").
//
// Owner: one per machine; a Member per vCPU. Threads: any; a Member's calls are its own thread's.
// Design: docs/decisions/007-shared-code-cache.md. Example:
//   safepoints.begin(me); while (...) { safepoints.pass(me); run_a_chain_of_blocks(); } safepoints.end(me);
//   { Safepoints::Exclusive alone(safepoints, me); touch_what_others_use(); }
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "base/types.h"

namespace menura::jit {

class Safepoints {
 public:
  class Member {
   public:
    // `kick` makes the member call pass() soon; called from any thread.
    explicit Member(std::function<void()> kick) : kick_(std::move(kick)) {}

   private:
    friend class Safepoints;
    static constexpr u64 kOutside = ~u64{0};
    const std::function<void()> kick_;
    std::atomic<u64> seen_{kOutside};  // the epoch at the last safepoint
    bool still_ = true;                // touches nothing shared; guarded by mutex_
  };

  void join(Member& member);
  void leave(Member& member);

  // Between begin() and end() the member may hold on to shared translations.
  void begin(Member& me);
  void end(Member& me);
  // Between two blocks, holding nothing. May wait for an exclusive section to end.
  void pass(Member& me) {
    me.seen_.store(epoch_.load(std::memory_order_acquire), std::memory_order_release);
    if (exclusive_.load(std::memory_order_acquire)) [[unlikely]]
      stand_still(me);
  }

  // Begins a grace period: it has passed when every member has begun a turn after this.
  u64 advance() { return epoch_.fetch_add(1, std::memory_order_seq_cst) + 1; }
  // Whether it has, as far as others than `me` are concerned.
  bool passed(u64 epoch, const Member& me) const;
  // Waits for it. The caller holds nothing, as in pass().
  void wait_passed(u64 epoch, Member& me);
  // Asks those to pass soon who have not.
  void hurry(u64 epoch, const Member& me) const;
  // Whether there is anybody else at all.
  bool alone() const { return count_.load(std::memory_order_relaxed) < 2; }

  // While it lives, no other member touches guest memory or translations. In the middle of an
  // instruction, but with no lock held.
  class Exclusive {
   public:
    Exclusive(Safepoints& safepoints, Member& me);
    ~Exclusive();
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    Safepoints& all_;
  };
  u64 exclusive_sections() const { return sections_.load(std::memory_order_relaxed); }

 private:
  void stand_still(Member& me);
  bool others_passed(u64 epoch, const Member& me) const;  // with mutex_ held
  bool others_still(const Member& me) const;              // the same

  // State
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Member*> members_;  // guarded by mutex_
  std::atomic<u32> count_{0};
  std::atomic<u64> epoch_{1};
  std::atomic<bool> exclusive_{false};  // written with mutex_ held
  std::atomic<u64> sections_{0};
};

}  // namespace menura::jit
