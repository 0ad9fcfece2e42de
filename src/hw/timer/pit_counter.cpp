// The counting of one 8254 counter in closed form: what OUT and the count are at any tick, without
// a step for each. Mode by mode after "Mode Definitions" of the data sheet.
#include <algorithm>

#include "base/bits.h"
#include "base/check.h"
#include "hw/timer/pit.h"

namespace menura {

namespace {

u32 from_bcd(u16 digits) {
  return (digits >> 12) * 1000u + ((digits >> 8) & 15) * 100u + ((digits >> 4) & 15) * 10u +
         (digits & 15);
}

u16 to_bcd(u32 value) {
  return static_cast<u16>((value / 1000 % 10) << 12 | (value / 100 % 10) << 8 |
                          (value / 10 % 10) << 4 | value % 10);
}

}  // namespace

void PitCounterState::describe(StateVisitor& v) {
  v.field("mode", mode);
  v.field("access", access);
  v.field("bcd", bcd);
  v.field("gate", gate);
  v.field("count_register", count_register);
  v.field("null_count", null_count);
  v.field("count_written", count_written);
  v.field("high_byte_next_in", high_byte_next_in);
  v.field("low_byte_in", low_byte_in);
  v.field("high_byte_next_out", high_byte_next_out);
  v.field("latched_bytes", latched_bytes);
  v.field("output_latch", output_latch);
  v.field("status_latched", status_latched);
  v.field("status_latch", status_latch);
  v.field("initial", initial);
  v.field("counting", counting);
  v.field("since", since);
  v.field("elapsed", elapsed);
  v.field("load_tick", load_tick);
  v.field("driven", driven);
}

Result<void> PitCounterState::check() const {
  // Ticks of three thousand years: sums of a few stay inside of 64 bits.
  constexpr i64 kFar = i64{1} << 57;
  const auto near = [](i64 tick) { return tick > -kFar && tick < kFar; };
  const bool ticks_good = near(since) && near(driven) && elapsed >= 0 && near(elapsed) &&
                          (load_tick == kNoLoad || near(load_tick)) &&
                          (!counting || since <= driven) && load_tick > driven;
  if (!ticks_good || mode > 7 || access < 1 || access > 3 || latched_bytes > 3 ||
      initial > 65'536 || (counting && initial == 0))
    return fail(Errc::Corrupt, "An 8254 counter's saved mode, count or time is out of range");
  return {};
}

bool PitCounterState::output_at(i64 tick) const {
  const i64 e = elapsed_at(tick);
  switch (effective_mode()) {
    case 0: return initial != 0 && !null_count && !high_byte_next_in && e >= initial;
    case 1: return initial == 0 || e >= initial;
    case 2: return !counting || e % initial != initial - 1;
    case 3: return !counting || e % initial < high_half();
    // A strobe of one tick, which a falling gate does not lengthen.
    case 4: return initial == 0 || e != initial || (!counting && tick != since);
    case 5: return initial == 0 || e != initial;
    default: unreachable();
  }
}

u16 PitCounterState::count_at(i64 tick) const {
  if (initial == 0) return 0;
  const i64 n = initial;
  const i64 e = elapsed_at(tick);
  i64 count = 0;
  if (effective_mode() == 3) {
    // Counts by twos, from an even number, once in each half.
    const i64 r = e % n;
    count = (n & ~i64{1}) - 2 * (r < high_half() ? r : r - high_half());
  } else {
    count = periodic() ? n - e % n : n - e;
  }
  const i64 m = modulus();
  const u32 value = static_cast<u32>(((count % m) + m) % m);
  return bcd ? to_bcd(value) : static_cast<u16>(value);
}

i64 PitCounterState::next_edge(i64 tick) const {
  const i64 n = initial;
  if (!counting) {
    const bool strobing = effective_mode() == 4 && !output_at(tick);
    return strobing ? tick + 1 : kNoLoad;
  }
  const i64 e = elapsed_at(tick);
  const i64 cycle = periodic() ? tick - e % n : since;
  switch (effective_mode()) {
    case 0:
    case 1: return e < n ? since + n : kNoLoad;
    case 2:
      if (n == 1) return kNoLoad;
      return e % n < n - 1 ? cycle + n - 1 : cycle + n;
    case 3:
      if (n == 1) return kNoLoad;
      return e % n < high_half() ? cycle + high_half() : cycle + n;
    case 4:
    case 5:
      if (e > n) return kNoLoad;
      return e < n ? since + n : since + n + 1;
    default: unreachable();
  }
}

i64 PitCounterState::rises(i64 from, i64 to) const {
  if (!counting) return 0;
  const i64 n = initial;
  if (periodic()) return n == 1 ? 0 : (to - since) / n - (from < since ? 0 : (from - since) / n);
  const i64 rise = since + n + (effective_mode() >= 4 ? 1 : 0);
  return from < rise && rise <= to ? 1 : 0;
}

void PitCounterState::write_control(u8 control) {
  mode = bits(control, 3, 1);
  access = bits(control, 5, 4);
  bcd = test_bit(control, 0);
  count_register = 0;
  null_count = true;
  count_written = false;
  high_byte_next_in = high_byte_next_out = false;
  latched_bytes = 0;
  status_latched = false;
  initial = 0;
  counting = false;
  elapsed = 0;
  load_tick = kNoLoad;
}

void PitCounterState::write_count(u16 count, i64 now) {
  count_register = count;
  null_count = true;
  count_written = true;
  if (triggered()) return;  // waits for the gate
  if (!periodic() || initial == 0) {
    load_tick = now + 1;
  } else if (counting && load_tick == kNoLoad) {
    // At the end of the present cycle, or of the square wave's half.
    const i64 r = (now - since) % initial;
    const i64 half = effective_mode() == 3 && r < high_half() ? high_half() : initial;
    load_tick = now - r + half;
  }
}

void PitCounterState::stop(i64 now) {
  if (!counting) return;
  elapsed = now - since;
  since = now;
  counting = false;
}

void PitCounterState::resume(i64 now) {
  if (counting || initial == 0) return;
  since = now - elapsed;
  counting = true;
}

void PitCounterState::set_gate(bool level, i64 now) {
  if (gate == level) return;
  gate = level;
  if (triggered() || periodic()) {
    if (level) {
      if (count_written) load_tick = now + 1;
    } else if (periodic() && counting) {
      stop(now);
      load_tick = kNoLoad;  // a new count now waits for the gate
    }
  } else if (!level) {
    stop(now);
  } else if (effective_mode() == 4 || !high_byte_next_in) {
    resume(now);
  }
}

void PitCounterState::load() {
  const i64 at = std::exchange(load_tick, kNoLoad);
  // A square wave that gets a new count when its high half ends goes on with the low half.
  const bool low_half =
      effective_mode() == 3 && counting && (at - since) % initial == high_half() && initial > 1;
  const u32 count = bcd ? from_bcd(count_register) : count_register;
  initial = count != 0 ? count : modulus();
  null_count = false;
  elapsed = low_half ? high_half() : 0;
  counting = triggered() || gate;
  since = counting ? at - elapsed : at;
}

}  // namespace menura
