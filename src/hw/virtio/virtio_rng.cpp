#include "hw/virtio/virtio_rng.h"

#include <algorithm>

namespace menura {

namespace {
// A buffer of any size is answered with at most this much (§5.4.6.1 wants one byte at least).
constexpr u64 kMost = 64 * 1024;
constexpr i64 kMillisecond = 1'000'000;
}  // namespace

void VirtioRngConfig::describe(PropertyVisitor& p) {
  p.field("max-bytes", max_bytes, "how much a guest gets in each period");
  p.field("period", period, "length of a period, in milliseconds");
}

VirtioRng::VirtioRng(Tape& tape, const VirtioRngConfig& config)
    : VirtioDevice(kKind, {256}, 0), config_(config), tape_(tape), allowance_(config.max_bytes) {}

void VirtioRng::process(unsigned queue) {
  VirtioChain chain;
  std::vector<std::byte> random;
  while (allowance_ > 0 && take(queue, chain)) {
    random.resize(std::min({chain.writable_size(), kMost, allowance_}));
    tape_.random(random);
    if (!write_chain(chain, 0, random)) return;
    allowance_ -= random.size();
    if (config_.max_bytes != VirtioRngConfig{}.max_bytes && period_end_ns_ == TimerQueue::kNever) {
      period_end_ns_ = host().time().now_ns() + i64{config_.period} * kMillisecond;
      arm();
    }
    finish(queue, chain, static_cast<u32>(random.size()));
  }
}

void VirtioRng::new_period() {
  allowance_ = config_.max_bytes;
  period_end_ns_ = TimerQueue::kNever;
  notify(0);
}

void VirtioRng::arm() {
  if (!timer_) timer_.emplace(host().time(), [this] { new_period(); });
  timer_->arm(period_end_ns_);
}

void VirtioRng::reset_device() {
  allowance_ = config_.max_bytes;
  period_end_ns_ = TimerQueue::kNever;
  if (timer_) timer_->cancel();
}

void VirtioRng::describe_device(StateVisitor& v) {
  v.field("allowance", allowance_);
  v.field("period_end_ns", period_end_ns_);
}

Result<void> VirtioRng::restored_device() {
  if (timer_) timer_->cancel();
  if (period_end_ns_ != TimerQueue::kNever) arm();
  return {};
}

}  // namespace menura
