#include "hw/timer/pit.h"

#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"

namespace menura {

TRACE_EVENT(kPitControl, "pit.control", "{:#04x}");
TRACE_EVENT(kPitCount, "pit.count", "counter {} count {:#x}");

namespace {

// kPitHz over a billion in lowest terms.
constexpr __int128 kNumerator = kPitHz / 2;
constexpr __int128 kDenominator = 500'000'000;
constexpr unsigned kIrq0 = 0;
// Outputs faster than this are sampled, so that a guest cannot keep the loop busy with one counter.
constexpr i64 kShortestPeriodTicks = 12;
constexpr i64 kSampleNs = 10'000;

}  // namespace

i64 pit_tick_at(i64 ns) { return static_cast<i64>(ns * kNumerator / kDenominator); }

i64 pit_tick_ns(i64 tick) {
  return static_cast<i64>((tick * kDenominator + kNumerator - 1) / kNumerator);
}

void PitState::describe(StateVisitor& v) {
  v.field("counters", counters);
  v.field("speaker_on", speaker_on);
  v.field("lost_ticks", lost_ticks);
}

Pit::Pit(std::string id, Config config, TimerQueue& time, std::array<IrqLine, 3> outputs)
    : Device(std::move(id)),
      time_(time),
      outputs_(outputs),
      edges_{Timer{time, [this] { catch_up(0), arm(0); }},
             Timer{time, [this] { catch_up(1), arm(1); }},
             Timer{time, [this] { catch_up(2), arm(2); }}},
      ports_(Region::mmio("pit", 4, *this, {.handler_max = 1})),
      lost_(config.lost_ticks, time, state_.lost_ticks, [this] { return inject_tick(); }) {}

void Pit::reset(ResetKind) {
  const i64 now = pit_tick_at(time_.now_ns());
  for (unsigned i = 0; i < 3; i++) {
    PitCounterState& c = state_.counters[i];
    c = PitCounterState{.gate = c.gate, .driven = now};  // gates are inputs
    outputs_[i].set(c.output_at(now));
    arm(i);
  }
  state_.speaker_on = false;
  lost_.forget();
}

void Pit::describe(StateVisitor& v) { v.field("state", state_); }

Result<void> Pit::restored() {
  for (unsigned i = 0; i < 3; i++) {
    const PitCounterState& c = state_.counters[i];
    TRY(c.check());
    outputs_[i].import(c.output_at(c.driven));
    arm(i);
  }
  lost_.restored(tick_period_ns());
  return {};
}

i64 Pit::catch_up(unsigned index) {
  PitCounterState& c = state_.counters[index];
  const i64 now = std::max(pit_tick_at(time_.now_ns()), c.driven);
  if (c.load_tick <= now) {
    const i64 at = c.load_tick;
    drive(index, at - 1);
    c.load();
    drive(index, at);
  }
  drive(index, now);
  return now;
}

void Pit::drive(unsigned index, i64 to) {
  PitCounterState& c = state_.counters[index];
  IrqLine& out = outputs_[index];
  const i64 rises = c.rises(c.driven, to);
  const bool level = c.output_at(to);
  c.driven = to;
  if (rises > 0 || (level && !out.level())) {
    if (out.level()) out.lower();
    const IrqStatus status = out.raise();
    if (index == kIrq0) lost_.ticked(std::max<i64>(rises, 1), status, tick_period_ns());
  }
  if (out.level() != level) out.set(level);
}

void Pit::arm(unsigned index) {
  if (!outputs_[index].connected()) return;
  const PitCounterState& c = state_.counters[index];
  const i64 next = std::min(c.next_edge(c.driven), c.load_tick);
  if (next == PitCounterState::kNoLoad) return edges_[index].cancel();
  i64 deadline = pit_tick_ns(next);
  if (c.periodic() && c.counting && c.initial < kShortestPeriodTicks)
    deadline = std::max(deadline, pit_tick_ns(c.driven) + kSampleNs);
  edges_[index].arm(deadline);
}

i64 Pit::tick_period_ns() const { return pit_tick_ns(state_.counters[kIrq0].initial); }

IrqStatus Pit::inject_tick() {
  IrqLine& out = outputs_[kIrq0];
  const bool level = out.level();
  if (level) out.lower();
  const IrqStatus status = out.raise();
  if (!level) out.lower();
  return status;
}

void Pit::tick_taken() {
  catch_up(kIrq0);
  arm(kIrq0);
  lost_.taken();
}

IrqStatus Pit::set_irq(unsigned pin, bool level) {
  if (pin > 2) return IrqStatus::Ignored;
  const i64 now = catch_up(pin);
  state_.counters[pin].set_gate(level, now);
  drive(pin, now);
  arm(pin);
  return IrqStatus::Delivered;
}

bool Pit::output(unsigned counter) {
  const i64 now = catch_up(counter);
  return state_.counters[counter].output_at(now);
}

u32 Pit::tone_hz() const {
  const PitCounterState& c = state_.counters[2];
  const bool square = c.mode == 3 || c.mode == 7;
  return state_.speaker_on && square && c.counting ? static_cast<u32>(kPitHz / c.initial) : 0;
}

u64 Pit::read(Access access) {
  if (access.offset == 3) return 0xff;  // the control word is write-only
  return read_counter(static_cast<unsigned>(access.offset));
}

void Pit::write(Access access, u64 value) {
  if (access.offset == 3)
    write_control(static_cast<u8>(value));
  else
    write_counter(static_cast<unsigned>(access.offset), static_cast<u8>(value));
}

void Pit::write_control(u8 value) {
  trace(kPitControl, value);
  const unsigned select = bits(value, 7, 6);
  if (select == 3) {  // read-back
    for (unsigned i = 0; i < 3; i++) {
      if (!test_bit(value, i + 1)) continue;
      if (!test_bit(value, 5)) latch_count(i);
      if (!test_bit(value, 4)) latch_status(i);
    }
  } else if (bits(value, 5, 4) == 0) {
    latch_count(select);
  } else {
    const i64 now = catch_up(select);
    state_.counters[select].write_control(value);
    drive(select, now);
    arm(select);
    if (select == kIrq0) lost_.forget();
  }
}

void Pit::write_counter(unsigned index, u8 value) {
  const i64 now = catch_up(index);
  PitCounterState& c = state_.counters[index];
  if (c.access == 3 && !c.high_byte_next_in) {
    c.low_byte_in = value;
    c.high_byte_next_in = true;
    if (c.mode == 0) c.stop(now);  // the first byte disables counting
  } else {
    const u16 count = static_cast<u16>(c.access == 1   ? value
                                       : c.access == 2 ? value << 8
                                                       : value << 8 | c.low_byte_in);
    c.high_byte_next_in = false;
    trace(kPitCount, index, count);
    c.write_count(count, now);
    if (index == kIrq0) lost_.forget();
  }
  drive(index, now);
  arm(index);
}

void Pit::latch_count(unsigned index) {
  PitCounterState& c = state_.counters[index];
  if (c.latched_bytes != 0) return;
  const i64 now = catch_up(index);
  c.output_latch = c.count_at(now);
  c.latched_bytes = c.access;
}

void Pit::latch_status(unsigned index) {
  PitCounterState& c = state_.counters[index];
  if (c.status_latched) return;
  const i64 now = catch_up(index);
  c.status_latched = true;
  c.status_latch = static_cast<u8>(c.output_at(now) << 7 | c.null_count << 6 | c.access << 4 |
                                   c.mode << 1 | u8{c.bcd});
}

u8 Pit::read_counter(unsigned index) {
  PitCounterState& c = state_.counters[index];
  if (std::exchange(c.status_latched, false)) return c.status_latch;
  if (c.latched_bytes != 0) {
    const bool low = c.latched_bytes & 1;
    c.latched_bytes &= low ? 2 : 0;
    return static_cast<u8>(low ? c.output_latch : c.output_latch >> 8);
  }
  const i64 now = catch_up(index);
  const u16 count = c.count_at(now);
  const bool high = c.access == 2 || (c.access == 3 && c.high_byte_next_out);
  if (c.access == 3) c.high_byte_next_out = !c.high_byte_next_out;
  return static_cast<u8>(high ? count >> 8 : count);
}

}  // namespace menura
