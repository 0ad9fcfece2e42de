// The registers and the keeping of time. Interrupts are in rtc_interrupts.cpp.
#include "hw/rtc/rtc.h"

#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"
#include "base/units.h"
#include "hw/rtc/rtc_registers.h"

namespace menura {

using namespace rtc;

TRACE_EVENT(kRtcWrite, "rtc.write", "register {:#04x} value {:#04x}");

namespace {

bool is_time_register(u8 index) {
  return index == kSeconds || index == kMinutes || index == kHours ||
         (index >= kWeekday && index <= kYear) || index == Rtc::kCentury;
}

}  // namespace

Rtc::Rtc(std::string id, Config config, TimerQueue& time, Tape& tape, IrqLine irq)
    : Device(std::move(id)),
      config_(config),
      time_(time),
      tape_(tape),
      irq_(irq),
      event_(time, [this] { catch_up(), arm(); }),
      retry_(time, [this] { retry(); }),
      ports_(Region::mmio("rtc", 2, *this, {.handler_max = 1})) {
  const i64 wall_ns = tape.wall_clock_ns();
  const i64 start_s = config.date.value_or(floor_div(wall_ns, kNsPerSecond)) + config.utc_offset_s;
  const i64 fraction_ns = wall_ns - floor_div(wall_ns, kNsPerSecond) * kNsPerSecond;
  set_fraction(config.date ? 0 : fraction_ns);
  offset_s_ += start_s - guest_seconds();
  base_offset_s_ = offset_s_;
  cmos_[kA] = kDivider32k | 6;
  cmos_[kB] = k24Hours;
  cmos_[kD] = kValidRam;
  see_all();
  show_time();
}

void Rtc::see_all() {
  seen_second_ = guest_seconds();
  seen_tick_ = tick_of(chain_ns());
}

// RESET reaches interrupts only: the battery keeps time, memory and register A.
void Rtc::reset(ResetKind) {
  see_all();
  cmos_[kB] &= static_cast<u8>(~(kPeriodicEnable | kAlarmEnable | kUpdateEnable | kSquareWave));
  cmos_[kC] = 0;
  index_ = 0;
  lost_ticks_ = 0;
  retry_.cancel();
  update_irq();
  arm();
}

void Rtc::describe(StateVisitor& v) {
  v.field("cmos", cmos_);
  v.field("index", index_);
  // Another host's monotonic clock stands elsewhere: what moves is the guest's time itself.
  const i64 reference_ns = config_.clock == RtcClock::Monotonic ? source_ns() : 0;
  i64 offset_ns = offset_ns_ + reference_ns;
  v.field("offset_s", offset_s_);
  v.field("offset_ns", offset_ns);
  if (v.loading()) offset_ns_ = offset_ns - reference_ns;
  v.field("seen_second", seen_second_);
  v.field("seen_tick", seen_tick_);
  v.field("heard", heard_);
  v.field("lost_ticks", lost_ticks_);
}

i64 Rtc::source_ns() const {
  return config_.clock == RtcClock::Host ? tape_.wall_clock_ns() : time_.now_ns();
}

i64 Rtc::guest_seconds() const { return floor_div(chain_ns(), kNsPerSecond) + offset_s_; }

i64 Rtc::fraction_ns() const {
  return chain_ns() - floor_div(chain_ns(), kNsPerSecond) * kNsPerSecond;
}

void Rtc::set_fraction(i64 ns) { offset_ns_ += ns - fraction_ns(); }

bool Rtc::held() const {
  return (cmos_[kB] & kSet) || (cmos_[kA] & kDividerReset) == kDividerReset;
}

bool Rtc::binary() const { return cmos_[kB] & kBinary; }

u8 Rtc::encode(int value) const {
  return static_cast<u8>(binary() ? value : value / 10 << 4 | value % 10);
}

int Rtc::decode(u8 value) const {
  if (binary()) return value;
  if ((value & 15) > 9 || value > 0x99) return -1;
  return (value >> 4) * 10 + (value & 15);
}

u8 Rtc::encode_hour(int hour) const {
  if (cmos_[kB] & k24Hours) return encode(hour);
  const int twelve = hour % 12 == 0 ? 12 : hour % 12;
  return encode(twelve) | (hour >= 12 ? kPm : 0);
}

int Rtc::decode_hour(u8 value) const {
  if (cmos_[kB] & k24Hours) return decode(value);
  const int twelve = decode(value & ~kPm);
  if (twelve < 1 || twelve > 12) return -1;
  return twelve % 12 + (value & kPm ? 12 : 0);
}

void Rtc::show_time() {
  const CalendarTime t = calendar_of(guest_seconds());
  cmos_[kSeconds] = encode(t.second);
  cmos_[kMinutes] = encode(t.minute);
  cmos_[kHours] = encode_hour(t.hour);
  cmos_[kWeekday] = encode(t.weekday);
  cmos_[kDay] = encode(t.day);
  cmos_[kMonth] = encode(t.month);
  cmos_[kYear] = encode((t.year % 100 + 100) % 100);
  cmos_[kCentury] = encode((t.year / 100 % 100 + 100) % 100);
}

// The fraction of the second goes on as it was: SET does not stop the divider.
void Rtc::take_time() {
  const CalendarTime t{
      .year = 100 * std::max(decode(cmos_[kCentury]), 0) + std::max(decode(cmos_[kYear]), 0),
      .month = std::max(decode(cmos_[kMonth]), 0),
      .day = std::max(decode(cmos_[kDay]), 0),
      .hour = std::max(decode_hour(cmos_[kHours]), 0),
      .minute = std::max(decode(cmos_[kMinutes]), 0),
      .second = std::max(decode(cmos_[kSeconds]), 0)};
  const i64 moved = seconds_of(t) - guest_seconds();
  offset_s_ += moved;
  seen_second_ = guest_seconds();
  if (moved != 0 && time_set_) time_set_(offset_s_ - base_offset_s_);
}

void Rtc::set_cmos(u8 index, u8 value) {
  ensure(index > kD && index < cmos_.size(), "the clock's own registers are not CMOS memory");
  cmos_[index] = value;
}

u64 Rtc::read(Access access) { return access.offset == 0 ? 0xff : read_register(index_ & 0x7f); }

u8 Rtc::read_register(u8 index) {
  if (is_time_register(index) && !held()) show_time();
  if (index == kA) return cmos_[kA] | (updating() ? kUpdateInProgress : 0);
  if (index == kC) return read_c();
  return cmos_[index];
}

bool Rtc::updating() const { return !held() && fraction_ns() >= kNsPerSecond - kUpdateNs; }

void Rtc::write(Access access, u64 wide) {
  const u8 value = static_cast<u8>(wide);
  if (access.offset == 0) {
    index_ = value;
    return;
  }
  const u8 index = index_ & 0x7f;
  trace(kRtcWrite, index, value);
  catch_up();
  switch (index) {
    case kA: write_a(value); break;
    case kB: write_b(value); break;
    case kC:
    case kD: return;  // read-only
    default:
      if (is_time_register(index))
        write_time_register(index, value);
      else
        cmos_[index] = value;
  }
  update_irq();
  arm();
}

void Rtc::write_time_register(u8 index, u8 value) {
  if (!held()) show_time();
  cmos_[index] = value;
  if (!held()) take_time();
}

void Rtc::write_a(u8 value) {
  const bool was_held = held();
  const bool was_reset = (cmos_[kA] & kDividerReset) == kDividerReset;
  const bool resets = (value & kDividerReset) == kDividerReset;
  const i64 old_period = period_ticks();
  if (!was_held && resets) show_time();
  cmos_[kA] = value & ~kUpdateInProgress;
  // "The first update cycle begins one-half second" after the divider is let go.
  if (was_reset && !resets) set_fraction(kNsPerSecond / 2);
  if (was_held && !held()) take_time();
  see_all();
  // Ticks that are owed are so much time, whatever the new rate.
  if (const i64 period = period_ticks(); period != 0 && period != old_period)
    lost_ticks_ = static_cast<u32>(lost_ticks_ * old_period / period);
}

void Rtc::write_b(u8 value) {
  const bool was_held = held();
  if (!was_held && (value & kSet)) {
    show_time();
    value &= ~kUpdateEnable;  // SET clears UIE
  }
  cmos_[kB] = value;
  if (was_held && !held()) take_time();
  if (!(value & kPeriodicEnable)) lost_ticks_ = 0;
}

}  // namespace menura
