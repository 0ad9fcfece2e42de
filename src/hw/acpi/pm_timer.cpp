#include "hw/acpi/pm_timer.h"

#include "base/bits.h"
#include "base/units.h"

namespace menura {

namespace {
using Wide = unsigned __int128;
constexpr u64 kToggleTicks = u64{1} << (PmTimer::kBits - 1);
}  // namespace

PmTimer::PmTimer(TimerQueue& time, std::function<void()> on_overflow)
    : time_(time), alarm_(time, std::move(on_overflow)) {}

u64 PmTimer::ticks_at(i64 ns) {
  if (ns <= 0) return 0;
  return static_cast<u64>(Wide{static_cast<u64>(ns)} * kFrequency / kNsPerSecond);
}

i64 PmTimer::start_of(u64 tick) {
  return static_cast<i64>((Wide{tick} * kNsPerSecond + kFrequency - 1) / kFrequency);
}

u32 PmTimer::value() const { return static_cast<u32>(ticks() & low_mask(kBits)); }

void PmTimer::clear_overflow() {
  next_toggle_ = align_down(ticks(), kToggleTicks) + kToggleTicks;
  arm();
}

void PmTimer::watch(bool on) {
  if (std::exchange(watched_, on) != on) arm();
}

void PmTimer::arm() {
  if (watched_ && !overflowed())
    alarm_.arm(origin_ns_ + start_of(next_toggle_));
  else
    alarm_.cancel();
}

void PmTimer::reset() {
  origin_ns_ = time_.now_ns();
  next_toggle_ = kToggleTicks;
  watched_ = false;
  arm();
}

Result<void> PmTimer::restored() {
  const bool began = origin_ns_ >= 0 && origin_ns_ <= time_.now_ns();
  if (!began || next_toggle_ == 0 || next_toggle_ % kToggleTicks != 0 ||
      next_toggle_ > ticks() + kToggleTicks)
    return fail(Errc::Corrupt, "Restoring the PM timer: origin {} ns and next toggle {} at {} ns",
                origin_ns_, next_toggle_, time_.now_ns());
  arm();
  return {};
}

void PmTimer::describe(StateVisitor& v) {
  v.field("origin_ns", origin_ns_);
  v.field("next_toggle", next_toggle_);
  v.field("watched", watched_);
}

}  // namespace menura
