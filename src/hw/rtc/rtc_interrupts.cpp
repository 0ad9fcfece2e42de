// The MC146818A's flags and interrupts: periodic, alarm, update ended.
#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"
#include "base/units.h"
#include "hw/rtc/rtc.h"
#include "hw/rtc/rtc_registers.h"

namespace menura {

using namespace rtc;

TRACE_EVENT(kRtcInterrupt, "rtc.interrupt", "register C {:#04x}");
TRACE_EVENT(kRtcLost, "rtc.lost", "{} ticks wait");

namespace {

constexpr u8 kFlags = kPeriodicFlag | kAlarmFlag | kUpdateFlag;
// Lost ticks return at most this often, and no more than so many are owed.
constexpr i64 kRetryNs = 100'000;
constexpr u32 kMaxLost = 100'000;
constexpr i64 kLookAgainNs = 60 * kNsPerSecond;

constexpr std::string_view kLostTicks[] = {"discard", "slew"};

}  // namespace

std::span<const std::string_view> enum_names(RtcLostTicks) { return kLostTicks; }

// Table 5: RS 1 and 2 give 256 and 128 Hz with this time base, 3 to 15 give 8192 to 2 Hz.
i64 Rtc::period_ticks() const {
  const unsigned rate = cmos_[kA] & kRate;
  if (rate == 0 || (cmos_[kA] & kDividerReset) == kDividerReset) return 0;
  return i64{1} << (rate < 3 ? rate + 6 : rate - 1);
}

std::optional<i64> Rtc::next_alarm(i64 after) const {
  const auto any = [&](u8 reg) { return (cmos_[reg] & kAnyAlarm) == kAnyAlarm; };
  const int hour = decode_hour(cmos_[kHoursAlarm]);
  const int minute = decode(cmos_[kMinutesAlarm]);
  const int second = decode(cmos_[kSecondsAlarm]);
  // Skips what cannot match; a day and its fields bound the search.
  i64 at = after + 1;
  while (at <= after + 86'400 + 3600) {
    const CalendarTime t = calendar_of(at);
    if (!any(kHoursAlarm) && t.hour != hour)
      at += 3600 - t.minute * 60 - t.second;
    else if (!any(kMinutesAlarm) && t.minute != minute)
      at += 60 - t.second;
    else if (!any(kSecondsAlarm) && t.second != second)
      at++;
    else
      return at;
  }
  return std::nullopt;
}

void Rtc::catch_up() {
  count_ticks();
  const i64 second = guest_seconds();
  if (second > seen_second_ && !held()) {
    cmos_[kC] |= kUpdateFlag;
    if (const std::optional<i64> alarm = next_alarm(seen_second_); alarm && *alarm <= second)
      cmos_[kC] |= kAlarmFlag;
  }
  seen_second_ = second;  // also backwards, with the host's wall clock
  update_irq();
}

void Rtc::count_ticks() {
  const i64 tick = tick_of(chain_ns());
  const i64 before = std::exchange(seen_tick_, tick);
  const i64 period = period_ticks();
  if (period == 0) return;
  const i64 ended = floor_div(tick, period) - floor_div(before, period);
  if (ended <= 0) return;
  const bool unread = cmos_[kC] & kPeriodicFlag;
  cmos_[kC] |= kPeriodicFlag;
  if (cmos_[kB] & kPeriodicEnable) note_lost(unread ? ended : ended - 1);
}

void Rtc::update_irq() {
  const bool active = cmos_[kC] & cmos_[kB] & kFlags;
  cmos_[kC] = static_cast<u8>((cmos_[kC] & kFlags) | (active ? kInterrupt : 0));
  if (active == irq_.level()) return;
  trace(kRtcInterrupt, cmos_[kC]);
  const IrqStatus status = irq_.set(active);
  if (!active) return;
  heard_ = status != IrqStatus::Ignored;
  if (status == IrqStatus::Coalesced && (cmos_[kC] & cmos_[kB] & kPeriodicFlag)) note_lost(1);
}

u8 Rtc::read_c() {
  catch_up();
  const u8 flags = cmos_[kC];
  cmos_[kC] = 0;
  update_irq();
  arm();
  return flags;
}

// For the next event whose interrupt is enabled and not already raised.
void Rtc::arm() {
  i64 next = TimerQueue::kNever;  // in the divider chain's time
  const u8 wanted = cmos_[kB] & static_cast<u8>(~cmos_[kC]);
  const bool counts_lost = config_.lost_ticks == RtcLostTicks::Slew;
  if (const i64 period = period_ticks();
      period != 0 && ((counts_lost ? cmos_[kB] : wanted) & kPeriodicEnable))
    next = tick_ns((floor_div(seen_tick_, period) + 1) * period);
  std::optional<i64> second;
  if (wanted & kAlarmEnable) second = next_alarm(seen_second_);
  if (wanted & kUpdateEnable) second = seen_second_ + 1;
  if (second && !held()) next = std::min(next, (*second - offset_s_) * kNsPerSecond);
  if (next == TimerQueue::kNever) return event_.cancel();
  i64 delay = std::max<i64>(next - chain_ns(), 0);
  // The host's wall clock may be set meanwhile.
  if (config_.clock == RtcClock::Host) delay = std::min(delay, kLookAgainNs);
  event_.arm(time_.now_ns() + delay);
}

void Rtc::note_lost(i64 ticks) {
  if (config_.lost_ticks == RtcLostTicks::Discard || ticks <= 0 || !heard_) return;
  lost_ticks_ = static_cast<u32>(std::min<i64>(lost_ticks_ + ticks, kMaxLost));
  trace(kRtcLost, lost_ticks_);
  if (!retry_.armed()) arm_retry();
}

// Four tries a period: a guest that keeps up again makes good without being flooded.
void Rtc::arm_retry() {
  const i64 period = period_ticks();
  if (lost_ticks_ == 0 || period == 0) return retry_.cancel();
  retry_.arm(time_.now_ns() + std::max(tick_ns(period) / 4, kRetryNs));
}

void Rtc::retry() {
  catch_up();
  if (lost_ticks_ > 0 && !irq_.level() && (cmos_[kB] & kPeriodicEnable)) {
    cmos_[kC] |= kPeriodicFlag;
    lost_ticks_--;
    update_irq();  // counts it again if it is coalesced
  }
  arm_retry();
  arm();
}

Result<void> Rtc::restored() {
  constexpr i64 kFar = i64{1} << 61;
  constexpr i64 kFarSeconds = i64{1} << 40;
  const auto within = [](i64 n, i64 limit) { return n > -limit && n < limit; };
  if (!within(offset_ns_, kFar) || !within(seen_tick_, kFar) || !within(offset_s_, kFarSeconds) ||
      !within(seen_second_, kFarSeconds))
    return fail(Errc::Corrupt, "The real-time clock's saved time is out of range");
  irq_.import(cmos_[kC] & kInterrupt);
  arm();
  arm_retry();
  return {};
}

}  // namespace menura
