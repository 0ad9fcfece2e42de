// The local APIC's timer (Intel SDM vol. 3 §11.5.4).
#include <algorithm>

#include "base/bits.h"
#include "base/units.h"
#include "hw/intc/lapic.h"
#include "hw/intc/lapic_registers.h"

namespace menura {

using namespace lapic;
using Mode = LapicState::TimerMode;

namespace {

// A guest's periodic timer may not keep the loop busy.
constexpr i64 kShortestPeriodNs = 10'000;

}  // namespace

// Bits 3, 1 and 0: 2, 4, … 128, 1.
i64 LapicState::timer_divisor() const {
  const u32 code = (timer_divide & 3) | (timer_divide >> 1 & 4);
  return i64{1} << ((code + 1) & 7);
}

u32 LapicState::timer_current(i64 now_ns) const {
  if (timer_initial == 0 || timer_mode() == Mode::TscDeadline || timer_fired) return 0;
  const i64 counted = std::max<i64>(now_ns - timer_start_ns, 0) / timer_divisor();
  if (timer_mode() == Mode::Periodic)
    return static_cast<u32>(timer_initial - counted % timer_initial);
  return counted >= timer_initial ? 0 : static_cast<u32>(timer_initial - counted);
}

void Lapic::write_timer_divide(u32 value) {
  // The count goes on from where it is, at the new pace.
  const i64 now = time_.now_ns();
  const i64 counted = state_.timer_initial - state_.timer_current(now);
  state_.timer_divide = value & kTimerDivideBits;
  state_.timer_start_ns = now - counted * state_.timer_divisor();
  arm_timer();
}

u64 Lapic::tsc_at(i64 ns) const {
  const unsigned __int128 ticks = static_cast<unsigned __int128>(ns) * config_.tsc_hz;
  return static_cast<u64>(ticks / kNsPerSecond) + tsc_offset_;
}

// When the TSC reaches a value that lies ahead; kNever if that is beyond all time.
i64 Lapic::ns_of_tsc(u64 tsc) const {
  const unsigned __int128 ticks = tsc - tsc_offset_;
  const unsigned __int128 ns = (ticks * kNsPerSecond + config_.tsc_hz - 1) / config_.tsc_hz;
  return ns < static_cast<u64>(TimerQueue::kNever) ? static_cast<i64>(ns) : TimerQueue::kNever;
}

void Lapic::set_tsc(u64 now) {
  tsc_offset_ += now - tsc_at(time_.now_ns());
  if (state_.timer_mode() == Mode::TscDeadline) arm_timer();
}

void Lapic::write_tsc_deadline(u64 value) {
  if (state_.timer_mode() != Mode::TscDeadline) return;
  state_.tsc_deadline = value;
  arm_timer();
}

void Lapic::arm_timer() {
  timer_.cancel();
  if (state_.timer_mode() == Mode::TscDeadline) {
    if (state_.tsc_deadline == 0) return;
    const i64 now = time_.now_ns();
    timer_.arm(state_.tsc_deadline <= tsc_at(now) ? now : ns_of_tsc(state_.tsc_deadline));
    return;
  }
  if (state_.timer_initial == 0 || state_.timer_fired) return;
  const bool periodic = state_.timer_mode() == Mode::Periodic;
  const i64 period = state_.timer_period_ns();
  timer_.arm(state_.timer_start_ns + (periodic ? std::max(period, kShortestPeriodNs) : period));
}

void Lapic::on_timer() {
  switch (state_.timer_mode()) {
    case Mode::TscDeadline: state_.tsc_deadline = 0; break;
    case Mode::Periodic: {
      // From the last whole period; those that were missed are one interrupt.
      const i64 now = time_.now_ns();
      state_.timer_start_ns = now - (now - state_.timer_start_ns) % state_.timer_period_ns();
      arm_timer();
      break;
    }
    case Mode::OneShot:
    case Mode::Reserved: state_.timer_fired = true; break;
  }
  deliver_lvt(LapicState::kTimer);
}

}  // namespace menura
