// Expectations are from the 8254 data sheet (231164): its "Mode Definitions" and their figures.
// A second judge is a counter that steps clock by clock (SteppedCounter), against which random
// sequences of writes, gate changes and pauses are compared.
#include "hw/timer/pit.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "hw/core/test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

struct PitTest : testing::Test {
  PitTest() {
    m.io_root.map(0x40, pit.ports());
    pit.reset(ResetKind::PowerOn);
    step_to_tick(1000);
  }
  void step_to_tick(i64 tick) { m.step_ns(pit_tick_ns(tick) - m.time.now_ns()); }
  void step_ticks(i64 ticks) { step_to_tick(pit_tick_at(m.time.now_ns()) + ticks); }
  void program(unsigned counter, u8 mode, u16 count, u8 access = 3, bool bcd = false) {
    const u16 port = static_cast<u16>(0x40 + counter);
    m.out8(0x43, static_cast<u8>(counter << 6 | access << 4 | mode << 1 | u8{bcd}));
    if (access & 1) m.out8(port, static_cast<u8>(count));
    if (access & 2) m.out8(port, static_cast<u8>(count >> 8));
  }
  u16 read_latched(unsigned counter) {
    const u16 port = static_cast<u16>(0x40 + counter);
    m.out8(0x43, static_cast<u8>(counter << 6));
    const u8 low = m.in8(port);
    if (pit.state().counters[counter].access == 1) return low;
    return static_cast<u16>(low | m.in8(port) << 8);
  }
  // OUT and the count after each of the next n clocks: "1:0004 1:0003 …".
  std::string waveform(unsigned counter, unsigned n) {
    std::string text;
    for (unsigned i = 0; i < n; i++) {
      step_ticks(1);
      char buffer[16];
      snprintf(buffer, sizeof buffer, "%s%d:%04x", i ? " " : "", pit.output(counter),
               read_latched(counter));
      text += buffer;
    }
    return text;
  }
  void gate(unsigned counter, bool level) { pit.set_irq(counter, level); }

  TestMachine m;
  Pit pit{"pit", {}, m.time, {m.pin(0), m.pin(1), m.pin(2)}};
};

TEST_F(PitTest, ClockHasNoDrift) {
  EXPECT_EQ(pit_tick_ns(0), 0);
  EXPECT_EQ(pit_tick_at(1'000'000'000), kPitHz);
  EXPECT_EQ(pit_tick_ns(kPitHz), 1'000'000'000);
  EXPECT_EQ(pit_tick_ns(kPitHz * 86'400 * 365), i64{86'400} * 365 * 1'000'000'000);
  for (const i64 tick : {1ll, 12'345ll, 987'654'321ll, 1'193'181ll, 4'000'000'000'000ll}) {
    EXPECT_EQ(pit_tick_at(pit_tick_ns(tick)), tick);
    EXPECT_EQ(pit_tick_at(pit_tick_ns(tick) - 1), tick - 1);
  }
}

// The figures show OUT and the count after each clock: the first loads it.
TEST_F(PitTest, Mode0InterruptOnTerminalCount) {
  program(2, 0, 4);
  EXPECT_FALSE(pit.output(2));
  EXPECT_EQ(waveform(2, 7), "0:0004 0:0003 0:0002 0:0001 1:0000 1:ffff 1:fffe");
}

TEST_F(PitTest, Mode0GateDisablesCounting) {
  program(2, 0, 3);
  EXPECT_EQ(waveform(2, 2), "0:0003 0:0002");
  gate(2, false);
  EXPECT_EQ(waveform(2, 2), "0:0002 0:0002");
  gate(2, true);
  EXPECT_EQ(waveform(2, 3), "0:0001 1:0000 1:ffff");
}

TEST_F(PitTest, Mode0NewCountIsLoadedOnTheNextClock) {
  program(2, 0, 3, 1);
  EXPECT_EQ(waveform(2, 3), "0:0003 0:0002 0:0001");
  m.out8(0x42, 2);
  EXPECT_EQ(waveform(2, 4), "0:0002 0:0001 1:0000 1:00ff");
  m.out8(0x42, 5);
  EXPECT_FALSE(pit.output(2)) << "OUT falls with the write";
}

TEST_F(PitTest, Mode0FirstByteDisablesCounting) {
  program(2, 0, 0x0104);
  EXPECT_EQ(waveform(2, 2), "0:0104 0:0103");
  m.out8(0x42, 0x02);
  EXPECT_FALSE(pit.output(2));
  EXPECT_EQ(waveform(2, 2), "0:0103 0:0103");
  m.out8(0x42, 0x00);
  EXPECT_EQ(waveform(2, 3), "0:0002 0:0001 1:0000");
}

TEST_F(PitTest, Mode1HardwareRetriggerableOneShot) {
  program(2, 1, 3);
  EXPECT_TRUE(pit.output(2));
  step_ticks(5);
  EXPECT_TRUE(pit.output(2)) << "waits for the gate";
  gate(2, false);
  gate(2, true);
  EXPECT_EQ(waveform(2, 5), "0:0003 0:0002 0:0001 1:0000 1:ffff");
  gate(2, false);
  EXPECT_EQ(waveform(2, 1), "1:fffe");
  gate(2, true);
  EXPECT_EQ(waveform(2, 2), "0:0003 0:0002");
  gate(2, false);
  gate(2, true);  // retriggered
  EXPECT_EQ(waveform(2, 4), "0:0003 0:0002 0:0001 1:0000");
}

TEST_F(PitTest, Mode1NewCountWaitsForTheTrigger) {
  program(2, 1, 2, 1);
  gate(2, false), gate(2, true);
  EXPECT_EQ(waveform(2, 1), "0:0002");
  m.out8(0x42, 4);
  EXPECT_EQ(waveform(2, 3), "0:0001 1:0000 1:00ff");
  gate(2, false), gate(2, true);
  EXPECT_EQ(waveform(2, 5), "0:0004 0:0003 0:0002 0:0001 1:0000");
}

TEST_F(PitTest, Mode2RateGenerator) {
  program(2, 2, 3);
  EXPECT_TRUE(pit.output(2));
  EXPECT_EQ(waveform(2, 7), "1:0003 1:0002 0:0001 1:0003 1:0002 0:0001 1:0003");
}

TEST_F(PitTest, Mode2GateLowSetsOutHighAndTriggerReloads) {
  program(2, 2, 3);
  EXPECT_EQ(waveform(2, 3), "1:0003 1:0002 0:0001");
  gate(2, false);
  EXPECT_TRUE(pit.output(2));
  EXPECT_EQ(waveform(2, 2), "1:0001 1:0001");
  gate(2, true);
  EXPECT_EQ(waveform(2, 4), "1:0003 1:0002 0:0001 1:0003");
}

TEST_F(PitTest, Mode2NewCountWaitsForTheEndOfTheCycle) {
  program(2, 2, 4, 1);
  EXPECT_EQ(waveform(2, 2), "1:0004 1:0003");
  m.out8(0x42, 5);
  EXPECT_EQ(waveform(2, 7), "1:0002 0:0001 1:0005 1:0004 1:0003 1:0002 0:0001");
}

TEST_F(PitTest, Mode3SquareWaveEven) {
  program(2, 3, 4);
  EXPECT_EQ(waveform(2, 8), "1:0004 1:0002 0:0004 0:0002 1:0004 1:0002 0:0004 0:0002");
}

// "OUT will be high for (N + 1)/2 counts and low for (N - 1)/2 counts."
TEST_F(PitTest, Mode3SquareWaveOdd) {
  program(2, 3, 5);
  EXPECT_EQ(waveform(2, 10),
            "1:0004 1:0002 1:0000 0:0004 0:0002 1:0004 1:0002 1:0000 0:0004 0:0002");
}

TEST_F(PitTest, Mode3GateLowSetsOutHigh) {
  program(2, 3, 4);
  EXPECT_EQ(waveform(2, 3), "1:0004 1:0002 0:0004");
  gate(2, false);
  EXPECT_TRUE(pit.output(2));
  EXPECT_EQ(waveform(2, 2), "1:0004 1:0004");
  gate(2, true);
  EXPECT_EQ(waveform(2, 3), "1:0004 1:0002 0:0004");
}

TEST_F(PitTest, Mode3NewCountWaitsForTheEndOfTheHalf) {
  program(2, 3, 4, 1);
  EXPECT_EQ(waveform(2, 1), "1:0004");
  m.out8(0x42, 6);
  EXPECT_EQ(waveform(2, 8), "1:0002 0:0006 0:0004 0:0002 1:0006 1:0004 1:0002 0:0006");
}

TEST_F(PitTest, Mode4SoftwareTriggeredStrobe) {
  program(2, 4, 3);
  EXPECT_TRUE(pit.output(2));
  EXPECT_EQ(waveform(2, 6), "1:0003 1:0002 1:0001 0:0000 1:ffff 1:fffe");
}

TEST_F(PitTest, Mode4GateDelaysAndNewCountRestarts) {
  program(2, 4, 3, 1);
  gate(2, false);
  EXPECT_EQ(waveform(2, 3), "1:0003 1:0003 1:0003");
  gate(2, true);
  EXPECT_EQ(waveform(2, 2), "1:0002 1:0001");
  m.out8(0x42, 2);
  EXPECT_EQ(waveform(2, 4), "1:0002 1:0001 0:0000 1:00ff");
}

TEST_F(PitTest, Mode5HardwareTriggeredStrobe) {
  program(2, 5, 3);
  EXPECT_EQ(pit.output(2), true);
  step_ticks(4);
  gate(2, false), gate(2, true);
  EXPECT_EQ(waveform(2, 5), "1:0003 1:0002 1:0001 0:0000 1:ffff");
  gate(2, false);
  EXPECT_EQ(waveform(2, 1), "1:fffe");
  gate(2, true);
  EXPECT_EQ(waveform(2, 4), "1:0003 1:0002 1:0001 0:0000");
}

TEST_F(PitTest, BcdCounts) {
  program(2, 0, 0x0100, 3, true);
  EXPECT_EQ(waveform(2, 3), "0:0100 0:0099 0:0098");
  step_ticks(97);
  EXPECT_EQ(waveform(2, 3), "1:0000 1:9999 1:9998");
  program(2, 2, 0x0000, 3, true);
  EXPECT_EQ(waveform(2, 2), "1:0000 1:9999") << "0 is 10^4";
}

TEST_F(PitTest, ZeroIsTheLargestCount) {
  program(0, 2, 0);
  const i64 start = pit_tick_at(m.time.now_ns());
  ASSERT_EQ(m.pin_rises(0), 1u) << "high since the control word";
  step_to_tick(start + 65'536);
  EXPECT_FALSE(m.pin_level(0));
  step_to_tick(start + 65'537);
  EXPECT_TRUE(m.pin_level(0));
  EXPECT_EQ(m.pin_rises(0), 2u);
}

TEST_F(PitTest, EdgesFallOnExactNanoseconds) {
  program(0, 2, 1193);
  const i64 start = pit_tick_at(m.time.now_ns());
  m.step_to_next_timer();  // the load
  for (i64 period = 1; period <= 1000; period++) {
    ASSERT_TRUE(m.step_to_next_timer());
    EXPECT_EQ(m.time.now_ns(), pit_tick_ns(start + 1193 * period));
    EXPECT_FALSE(m.pin_level(0));
    ASSERT_TRUE(m.step_to_next_timer());
    EXPECT_EQ(m.time.now_ns(), pit_tick_ns(start + 1193 * period + 1));
    EXPECT_TRUE(m.pin_level(0));
  }
}

TEST_F(PitTest, LatchHoldsUntilReadAndLaterLatchesAreIgnored) {
  program(2, 2, 0x1234);
  step_ticks(1);
  m.out8(0x43, 0x80);
  step_ticks(0x100);
  m.out8(0x43, 0x80);
  EXPECT_EQ(m.in8(0x42), 0x34);
  step_ticks(1);
  EXPECT_EQ(m.in8(0x42), 0x12);
  EXPECT_EQ(m.in8(0x42), 0x33) << "unlatched again: 1234h - 101h";
  EXPECT_EQ(m.in8(0x42), 0x11);
}

TEST_F(PitTest, SingleByteAccess) {
  program(2, 2, 0x7700, 2);
  step_ticks(1);
  EXPECT_EQ(m.in8(0x42), 0x77);
  m.out8(0x43, 0x80);
  EXPECT_EQ(m.in8(0x42), 0x77);
  program(2, 2, 0x0055, 1);
  step_ticks(1);
  EXPECT_EQ(m.in8(0x42), 0x55);
  EXPECT_EQ(m.in8(0x42), 0x55);
}

// "Read-Back Command": status bits 7 OUT, 6 null count, 5-0 the control word as written.
TEST_F(PitTest, ReadBack) {
  m.out8(0x43, 0xb6);  // counter 2, both bytes, mode 3
  m.out8(0x43, 0xe8);  // its status
  EXPECT_EQ(m.in8(0x42), 0xf6);
  m.out8(0x42, 0x00);
  m.out8(0x42, 0x10);
  m.out8(0x43, 0xe8);
  EXPECT_EQ(m.in8(0x42), 0xf6) << "null until the clock loads the count";
  step_ticks(1);
  m.out8(0x43, 0xe8);
  step_ticks(0x900);
  m.out8(0x43, 0xe8);
  EXPECT_EQ(m.in8(0x42), 0xb6) << "the first latched status stays";
  m.out8(0x43, 0xc8);  // status and count
  EXPECT_EQ(m.in8(0x42), 0x36) << "the low half; status comes first";
  EXPECT_EQ(m.in8(0x42), 0x00);
  EXPECT_EQ(m.in8(0x42), 0x0e);
  program(1, 7, 10);
  m.out8(0x43, 0xe4);
  EXPECT_EQ(m.in8(0x41) & 0x3f, 0x3e) << "mode X11 reads as written";
}

TEST_F(PitTest, ReadBackOfSeveralCounters) {
  program(0, 0, 0x20);
  program(1, 2, 0x30);
  step_ticks(1);
  m.out8(0x43, 0xd6 | 0x08);  // counts only, all three
  step_ticks(7);
  EXPECT_EQ(m.in8(0x40), 0x20);
  EXPECT_EQ(m.in8(0x41), 0x30);
}

TEST_F(PitTest, LateCallbacksLoseNoEdge) {
  // The guest reads the counter after an edge's time, before the timer ran.
  program(0, 2, 100);
  m.step_ns(pit_tick_ns(60));
  const unsigned before = m.pin_rises(0);
  m.clock.advance_to(m.clock.now_ns() + pit_tick_ns(150));
  read_latched(0);
  EXPECT_EQ(m.pin_rises(0), before + 1);
}

struct LostTickTest : testing::Test {
  void build(LostTickPolicy policy) {
    pit = std::make_unique<Pit>("pit", Pit::Config{policy}, m.time,
                                std::array<IrqLine, 3>{IrqLine{guest, 0}, {}, {}});
    pit->reset(ResetKind::PowerOn);
    pit->write({3, 1}, 0x34);
    pit->write({0, 1}, 0xa9);  // 1193: about 1 kHz
    pit->write({0, 1}, 0x04);
    m.step_ns(500'000);  // the count is loaded, OUT stays high
    ticks = 0;
  }
  // A guest that takes an interrupt at once, unless it is `busy`.
  bool busy = false;
  bool waiting = false;
  bool level = false;
  unsigned ticks = 0;
  TestMachine m;
  IrqFunction guest{[this](unsigned, bool now) {
    const bool rises = now && !level;
    level = now;
    if (!rises) return IrqStatus::Ignored;
    if (waiting) return IrqStatus::Coalesced;
    waiting = busy;
    ticks++;
    return IrqStatus::Delivered;
  }};
  std::unique_ptr<Pit> pit;
};

TEST_F(LostTickTest, DelayedOnesAllArrive) {
  build(LostTickPolicy::Delay);
  m.step_ns(10'000'000);
  EXPECT_EQ(ticks, 10u);
  busy = true;
  m.step_ns(20'000'000);
  EXPECT_EQ(ticks, 11u);
  EXPECT_EQ(pit->state().lost_ticks, 19u);
  busy = waiting = false;
  m.step_ns(20'000'000);
  EXPECT_EQ(pit->state().lost_ticks, 0u);
  EXPECT_EQ(ticks, 50u);
}

TEST_F(LostTickTest, DiscardedOnesDoNot) {
  build(LostTickPolicy::Discard);
  busy = true;
  m.step_ns(20'000'000);
  busy = waiting = false;
  m.step_ns(20'000'000);
  EXPECT_EQ(ticks, 21u);
}

TEST_F(LostTickTest, AStalledHostLosesNone) {
  build(LostTickPolicy::Delay);
  m.clock.advance_to(m.clock.now_ns() + 50'000'000);
  m.time.run_expired();
  EXPECT_EQ(ticks, 1u);
  EXPECT_EQ(pit->state().lost_ticks, 49u);
  m.step_ns(50'000'000);
  EXPECT_EQ(ticks, 100u);
}

TEST_F(LostTickTest, TheNextFollowsAsSoonAsOneIsTaken) {
  build(LostTickPolicy::Delay);
  busy = true;
  m.clock.advance_to(m.clock.now_ns() + 10'000'000);
  m.time.run_expired();
  EXPECT_EQ(ticks, 1u);
  for (unsigned taken = 1; taken < 10; taken++) {  // no time passes
    waiting = false;
    pit->tick_taken();
    EXPECT_EQ(ticks, taken + 1);
  }
  waiting = false;
  pit->tick_taken();
  EXPECT_EQ(ticks, 10u);
  EXPECT_EQ(pit->state().lost_ticks, 0u);
}

TEST_F(LostTickTest, TakingOneFindsWhatFellDueMeanwhile) {
  build(LostTickPolicy::Delay);
  m.clock.advance_to(m.clock.now_ns() + 3'000'000);  // the host's timer has not run
  pit->tick_taken();
  EXPECT_EQ(ticks, 2u) << "the due one, and an owed one at once";
}

TEST_F(LostTickTest, NobodyOwesAMaskedInterrupt) {
  TestMachine masked;
  IrqFunction nobody{[](unsigned, bool) { return IrqStatus::Ignored; }};
  Pit quiet("pit", {}, masked.time, {IrqLine{nobody, 0}, {}, {}});
  quiet.reset(ResetKind::PowerOn);
  quiet.write({3, 1}, 0x34);
  quiet.write({0, 1}, 0xa9);
  quiet.write({0, 1}, 0x04);
  masked.clock.advance_to(50'000'000);
  masked.time.run_expired();
  EXPECT_EQ(quiet.state().lost_ticks, 0u);
}

TEST_F(LostTickTest, NewProgramForgetsThem) {
  build(LostTickPolicy::Delay);
  busy = true;
  m.step_ns(20'000'000);
  pit->write({3, 1}, 0x30);
  EXPECT_EQ(pit->state().lost_ticks, 0u);
}

TEST_F(PitTest, Speaker) {
  pit.set_speaker(true);
  EXPECT_EQ(pit.tone_hz(), 0u);
  program(2, 3, 1193);
  step_ticks(1);
  EXPECT_EQ(pit.tone_hz(), 1000u);
  gate(2, false);
  EXPECT_EQ(pit.tone_hz(), 0u);
}

TEST_F(PitTest, SavedInMidPeriodGoesOn) {
  program(0, 2, 1000);
  program(1, 0, 500);
  program(2, 3, 300);
  step_ticks(777);
  m.out8(0x43, 0x80);
  m.in8(0x42);         // the latch half read
  m.out8(0x40, 0x10);  // a count half written
  TestMachine other;
  other.clock.advance_to(m.clock.now_ns());
  Pit twin{"pit", {}, other.time, {other.pin(0), other.pin(1), other.pin(2)}};
  EXPECT_EQ(TestMachine::round_trip(pit, twin), std::vector<std::string>{});
  other.io_root.map(0x40, twin.ports());
  const unsigned rises = m.pin_rises(0);
  EXPECT_EQ(other.in8(0x42), m.in8(0x42));
  other.out8(0x40, 0x01), m.out8(0x40, 0x01);
  for (int i = 0; i < 50; i++) {
    m.step_ns(100'000);
    other.step_ns(100'000);
    for (const u16 port : {0x40, 0x41, 0x42}) EXPECT_EQ(m.in8(port), other.in8(port));
    for (unsigned n = 0; n < 3; n++) EXPECT_EQ(pit.output(n), twin.output(n));
  }
  EXPECT_EQ(other.pin_rises(0), m.pin_rises(0) - rises);
}

TEST_F(PitTest, RefusesAnImpossibleState) {
  StateTree tree = save_state(pit);
  StateTree& counter = tree.children[0].children[0].children[0];
  const_cast<StateTree*>(counter.find("initial"))->integer = 70'000;
  ASSERT_TRUE(load_state(pit, tree).ok());
  EXPECT_FALSE(pit.restored().ok());
}

// One counter as the data sheet tells it, clock by clock.
struct SteppedCounter {
  unsigned mode = 3;
  bool bcd = false, gate = true, out = true;
  unsigned cr = 0, initial = 0;
  long ce = 0;
  bool written = false, load_next = false, loaded = false, counting = false;
  bool reload_wish = false;  // a new count for the next cycle
  bool half_counts = false;  // mode 3: the present half is the high one
  long half_left = 0;
  bool strobe = false, armed = false;

  long modulus() const { return bcd ? 10'000 : 65'536; }
  unsigned count() const { return cr ? cr : static_cast<unsigned>(modulus()); }
  void control(unsigned m, bool b) {
    mode = m, bcd = b;
    out = mode != 0;
    written = load_next = loaded = strobe = armed = false;
  }
  void write(unsigned n) {
    cr = n;
    written = true;
    if (mode == 0) out = false, load_next = true;
    if (mode == 4) load_next = true;
    if ((mode == 2 || mode == 3) && !loaded) load_next = true;
  }
  void set_gate(bool level) {
    const bool rises = level && !gate;
    gate = level;
    if (rises && written && (mode == 1 || mode == 2 || mode == 3 || mode == 5)) load_next = true;
    if (!level && (mode == 2 || mode == 3)) out = true;
  }
  void start_half(bool high) {
    out = high;
    initial = count();
    half_left = high ? (initial + 1) / 2 : initial / 2;
    ce = initial & ~1u;
  }
  void clock() {
    if (strobe) out = true, strobe = false;
    if (load_next) {
      load_next = false, loaded = true, armed = true;
      initial = count();
      ce = initial;
      if (mode == 1) out = false;
      if (mode == 3) start_half(true);
      frozen = (mode == 2 || mode == 3) && !gate;
      return;
    }
    if (!loaded) return;
    if (!gate && mode != 1 && mode != 5) {
      if (mode == 2 || mode == 3) frozen = true;
      return;
    }
    if (frozen) return;  // until the trigger
    if (mode == 3) {
      if (initial == 1) return;
      ce -= 2;
      if (--half_left == 0) start_half(!out);
      return;
    }
    ce--;
    if (mode == 2) {
      if (initial == 1) return;
      if (ce == 0) {
        initial = count();
        ce = initial;
        out = true;
      }
      if (ce == 1) out = false;
      return;
    }
    if (ce == 0 && armed) {
      armed = false;
      if (mode == 0 || mode == 1) out = true;
      if (mode == 4 || mode == 5) out = false, strobe = true;
    }
    if (ce < 0) ce += modulus();
  }
  bool frozen = false;
  long read() const { return ((ce % modulus()) + modulus()) % modulus(); }
};

unsigned decimal(unsigned digits) {
  return (digits >> 12) * 1000 + (digits >> 8 & 15) * 100 + (digits >> 4 & 15) * 10 + (digits & 15);
}

TEST_F(PitTest, AgreesWithAClockByClockCounter) {
  std::mt19937 random(7);
  for (int round = 0; round < 400; round++) {
    SteppedCounter peer;
    peer.gate = pit.gate(2);
    const unsigned mode = random() % 6;
    const bool bcd = random() % 4 == 0;
    peer.control(mode, bcd);
    m.out8(0x43, static_cast<u8>(0x90 | mode << 1 | u8{bcd}));  // low byte only
    std::string history = "mode " + std::to_string(mode);
    for (int step = 0; step < 60; step++) {
      const unsigned what = random() % 8;
      if (what == 0) {
        const u8 count = static_cast<u8>(random() % 10 == 0 ? 0 : 2 + random() % 8);
        history += " write " + std::to_string(count);
        m.out8(0x42, count);
        peer.write(count);
      } else if (what == 1) {
        history += pit.gate(2) ? " gate-" : " gate+";
        peer.set_gate(!pit.gate(2));
        gate(2, !pit.gate(2));
      } else {
        const unsigned clocks = random() % 3 == 0 ? 1 + random() % 20 : 1;
        history += " +" + std::to_string(clocks);
        step_ticks(clocks);
        for (unsigned i = 0; i < clocks; i++) peer.clock();
      }
      ASSERT_EQ(pit.output(2), peer.out) << history;
      ASSERT_EQ(m.pin_level(2), peer.out) << history;
      if (peer.loaded) {
        const u8 low = m.in8(0x42);
        const unsigned expected = static_cast<unsigned>(peer.read());
        ASSERT_EQ(bcd ? decimal(low) : low, bcd ? expected % 100 : expected & 0xff) << history;
      }
    }
  }
}

}  // namespace
}  // namespace menura
