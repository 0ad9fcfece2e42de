// KvmRunGate: keeps vCPUs out of KVM_RUN while memory slots are replaced, so that no guest runs (or
// fetches code) in the gap between a slot's removal and its successor.
//
// Owner: the VM. Threads: enter() and leave() on a vCPU's thread, without locks on the way; Closed by
// any thread that holds the machine lock and is not inside. Example:
//   { KvmRunGate::Closed closed(gate);  delete_slots();  add_slots(); }
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "base/types.h"

namespace menura {

class KvmRunGate {
 public:
  struct Member {
    // Makes a KVM_RUN of this vCPU return soon, also one about to begin.
    std::function<void()> interrupt;
    std::atomic<bool> inside{false};
  };

  void join(Member& member);
  void part(Member& member);

  void enter(Member& member) {
    member.inside.store(true, std::memory_order_seq_cst);
    if (closed_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wait_until_open(member);
  }
  void leave(Member& member) {
    member.inside.store(false, std::memory_order_seq_cst);
    if (closed_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      announce();
  }

  // Returns when nobody is inside; they wait at the door until it ends. May nest.
  class Closed {
   public:
    explicit Closed(KvmRunGate& gate);
    ~Closed();
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    KvmRunGate& gate_;
  };

 private:
  void wait_until_open(Member& member);
  void announce();

  std::atomic<int> closed_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Member*> members_;
};

}  // namespace menura
