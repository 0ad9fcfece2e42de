#include "accel/kvm/kvm_run_gate.h"

#include <algorithm>

namespace menura {

void KvmRunGate::join(Member& member) {
  const std::lock_guard guard(mutex_);
  members_.push_back(&member);
}

void KvmRunGate::part(Member& member) {
  const std::lock_guard guard(mutex_);
  std::erase(members_, &member);
}

void KvmRunGate::wait_until_open(Member& member) {
  std::unique_lock guard(mutex_);
  while (closed_.load(std::memory_order_seq_cst) != 0) {
    member.inside.store(false, std::memory_order_seq_cst);
    changed_.notify_all();
    changed_.wait(guard, [&] { return closed_.load(std::memory_order_seq_cst) == 0; });
    member.inside.store(true, std::memory_order_seq_cst);
  }
}

void KvmRunGate::announce() {
  const std::lock_guard guard(mutex_);
  changed_.notify_all();
}

KvmRunGate::Closed::Closed(KvmRunGate& gate) : gate_(gate) {
  std::unique_lock guard(gate_.mutex_);
  gate_.closed_.fetch_add(1, std::memory_order_seq_cst);
  for (Member* member : gate_.members_)
    if (member->inside.load(std::memory_order_seq_cst)) member->interrupt();
  gate_.changed_.wait(guard, [&] {
    return std::ranges::none_of(
        gate_.members_, [](Member* m) { return m->inside.load(std::memory_order_seq_cst); });
  });
}

KvmRunGate::Closed::~Closed() {
  const std::lock_guard guard(gate_.mutex_);
  gate_.closed_.fetch_sub(1, std::memory_order_seq_cst);
  gate_.changed_.notify_all();
}

}  // namespace menura
