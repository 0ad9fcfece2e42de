// Pit: the 8254 programmable interval timer: three counters at 1.193182 MHz.
//
// Owner: the board. Threads: under the machine lock. Source: Intel 8254 data sheet (231164).
// Every edge falls on a tick of the input clock, and ticks are counted from virtual time zero, so
// nothing drifts. Reading costs no timer; only outputs that are wired somewhere keep one armed.
// Gates are input pins 0-2 (a PC ties 0 and 1 high, port 61h drives 2).
// Example:
//   Pit pit("pit", {}, time, {IrqLine{gsi, 0}, {}, {}});  io_root.map(0x40, pit.ports());
//   IrqLine gate2{pit, 2};  gate2.set(true);  bool tone = pit.output(2);
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/timer/lost_ticks.h"
#include "memory/region.h"
#include "state/properties.h"

namespace menura {

// Input clock ticks since virtual time zero: how many began up to ns, and when one begins.
inline constexpr i64 kPitHz = 1'193'182;
i64 pit_tick_at(i64 ns);
i64 pit_tick_ns(i64 tick);

// One counter. Shared with the accelerators' own chips.
struct PitCounterState {
  static constexpr i64 kNoLoad = TimerQueue::kNever;

  // The control word.
  u8 mode = 3;    // as written, 0-7: 6 and 7 are 2 and 3
  u8 access = 3;  // 1: low byte, 2: high byte, 3: low then high
  bool bcd = false;
  bool gate = true;
  // The count register, and the bytes on their way into and out of it.
  u16 count_register = 0;  // as written (BCD digits if bcd); 0 means the largest count
  bool null_count = true;
  bool count_written = false;  // since the control word
  bool high_byte_next_in = false;
  u8 low_byte_in = 0;
  bool high_byte_next_out = false;
  u8 latched_bytes = 0;  // of output_latch, still to be read: bit 0 low, bit 1 high
  u16 output_latch = 0;
  bool status_latched = false;
  u8 status_latch = 0;
  // The counting element. It got `initial` counts (1 to 65536; 0: not loaded since the control
  // word) and counted since tick `since`; if not counting it stands after `elapsed` ticks, and
  // `since` is when it stopped.
  u32 initial = 0;
  bool counting = false;
  i64 since = 0;
  i64 elapsed = 0;
  i64 load_tick = kNoLoad;  // when the count register goes to the counting element
  i64 driven = 0;           // OUT was driven up to this tick

  void describe(StateVisitor& v);
  Result<void> check() const;

  bool periodic() const { return effective_mode() == 2 || effective_mode() == 3; }
  // At ticks from the last load to the next.
  bool output_at(i64 tick) const;
  u16 count_at(i64 tick) const;  // as read: BCD digits if bcd
  // The next tick after this one at which OUT changes by counting; kNoLoad: never.
  i64 next_edge(i64 tick) const;
  // How often OUT rises after tick `from`, up to `to`.
  i64 rises(i64 from, i64 to) const;

  void write_control(u8 control);
  // The whole count was written at tick now.
  void write_count(u16 count, i64 now);
  void set_gate(bool level, i64 now);
  void load();  // what load_tick announced
  void stop(i64 now);
  void resume(i64 now);

 private:
  u8 effective_mode() const { return mode < 6 ? mode : mode - 4; }
  bool triggered() const { return effective_mode() == 1 || effective_mode() == 5; }
  // Ticks of the square wave's high half.
  i64 high_half() const { return (initial + 1) / 2; }
  i64 elapsed_at(i64 tick) const { return counting ? tick - since : elapsed; }
  u32 modulus() const { return bcd ? 10'000 : 65'536; }
};

struct PitState {
  std::array<PitCounterState, 3> counters;
  bool speaker_on = false;  // port 61h bit 1
  u32 lost_ticks = 0;       // IRQ0 edges that await their turn (policy Delay)

  void describe(StateVisitor& v);
};

class Pit final : public Device, public IrqSink, public MmioHandler {
 public:
  struct Config {
    LostTickPolicy lost_ticks = LostTickPolicy::Delay;
    void describe(PropertyVisitor& p) {
      p.field("lost_tick_policy", lost_ticks, "what becomes of ticks the guest did not take");
    }
  };
  Pit(std::string id, Config config, TimerQueue& time, std::array<IrqLine, 3> outputs);

  std::string_view type() const override { return "isa-pit"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  // The gate of counter `pin`.
  IrqStatus set_irq(unsigned pin, bool level) override;
  bool gate(unsigned counter) const { return state_.counters[counter].gate; }
  // The CPU has accepted IRQ0: an owed tick may follow.
  void tick_taken();
  // OUT of a counter now.
  bool output(unsigned counter);

  // The loudspeaker's AND gate; its tone is counter 2's square wave.
  void set_speaker(bool on) { state_.speaker_on = on; }
  bool speaker_on() const { return state_.speaker_on; }
  u32 tone_hz() const;  // 0: silent or not a wave

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& ports() { return ports_; }  // 40h-43h
  const PitState& state() const { return state_; }

 private:
  void write_control(u8 value);
  void write_counter(unsigned index, u8 value);
  u8 read_counter(unsigned index);
  void latch_count(unsigned index);
  void latch_status(unsigned index);
  // Brings a counter and its output line to the present tick, and returns that.
  i64 catch_up(unsigned index);
  // Drives OUT as the counter has it up to a tick, through which nothing is loaded.
  void drive(unsigned index, i64 to);
  // For the next edge, if OUT is wired.
  void arm(unsigned index);
  IrqStatus inject_tick();
  i64 tick_period_ns() const;

  // Wiring
  TimerQueue& time_;
  std::array<IrqLine, 3> outputs_;
  std::array<Timer, 3> edges_;
  Region ports_;

  // State
  PitState state_;
  LostTicks lost_;  // counted in state_
};

}  // namespace menura
