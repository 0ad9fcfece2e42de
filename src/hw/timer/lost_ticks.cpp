#include "hw/timer/lost_ticks.h"

#include <algorithm>

#include "base/trace.h"

namespace menura {

namespace {

TRACE_EVENT(kOwed, "timer.owed_ticks", "{}");

// Tries come at most this often, and no more than so many ticks are owed.
constexpr i64 kRetryNs = 100'000;
constexpr u32 kMaxOwed = 10'000;

constexpr std::string_view kPolicies[] = {"discard", "delay"};

}  // namespace

std::span<const std::string_view> enum_names(LostTickPolicy) { return kPolicies; }

LostTicks::LostTicks(LostTickPolicy policy, TimerQueue& time, u32& owed,
                     std::function<IrqStatus()> inject)
    : policy_(policy),
      inject_(std::move(inject)),
      time_(time),
      retry_(time, [this] { taken(), arm(); }),
      owed_(owed) {}

void LostTicks::ticked(i64 due, IrqStatus fate, i64 period_ns) {
  // A guest that masked the interrupt does not count ticks.
  if (policy_ == LostTickPolicy::Discard || due <= 0 || fate == IrqStatus::Ignored) return;
  const i64 lost = fate == IrqStatus::Coalesced ? due : due - 1;
  if (lost == 0) return;
  period_ns_ = period_ns;
  owed_ = static_cast<u32>(std::min<i64>(owed_ + lost, kMaxOwed));
  trace(kOwed, owed_);
  if (!retry_.armed()) arm();
}

void LostTicks::taken() {
  if (owed_ > 0 && inject_() != IrqStatus::Coalesced) owed_--;
}

void LostTicks::forget() {
  owed_ = 0;
  retry_.cancel();
}

void LostTicks::restored(i64 period_ns) {
  period_ns_ = period_ns;
  owed_ = std::min(owed_, kMaxOwed);
  arm();
}

// Four tries a period: a guest that keeps up again makes good without being flooded.
void LostTicks::arm() {
  if (owed_ == 0 || period_ns_ == 0) return retry_.cancel();
  retry_.arm(time_.now_ns() + std::max(period_ns_ / 4, kRetryNs));
}

}  // namespace menura
