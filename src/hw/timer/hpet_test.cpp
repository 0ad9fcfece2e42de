// Expectations are from the IA-PC HPET specification 1.0a, by section.
#include "hw/timer/hpet.h"

#include <gtest/gtest.h>

#include "hw/core/test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr u64 kBase = 0xfed0'0000;

struct HpetTest : testing::Test {
  HpetTest() {
    m.memory_root.map(kBase, hpet.registers());
    hpet.reset(ResetKind::PowerOn);
  }
  u64 read(u64 offset, unsigned size = 8) { return m.read_mem(kBase + offset, size); }
  void write(u64 offset, u64 value, unsigned size = 8) { m.write_mem(kBase + offset, size, value); }
  void timer(unsigned n, u64 config, u64 comparator) {
    write(0x100 + 0x20 * n, config);
    write(0x108 + 0x20 * n, comparator);
  }

  TestMachine m;
  Hpet hpet{"hpet", {.timers = 4, .routes = 0x00ff'0104, .fsb = true}, m.time, m, &m, m.pin(99)};
};

TEST_F(HpetTest, ResetValues) {  // §2.3.4 on
  EXPECT_EQ(read(0x00), 0x0098'9680'8086'a301u) << "10 ns in fs, Intel, legacy, 64 bits, 4 timers";
  for (const u64 offset : {0x10, 0x20, 0xf0}) EXPECT_EQ(read(offset), 0u);
  for (unsigned n = 0; n < 4; n++) {
    EXPECT_EQ(read(0x100 + 0x20 * n), 0x00ff'0104'0000'8030u) << "routes, FSB, 64 bits, periodic";
    EXPECT_EQ(read(0x108 + 0x20 * n), ~u64{0});
    EXPECT_EQ(read(0x110 + 0x20 * n), 0u);
  }
  EXPECT_EQ(read(0x180), 0u) << "no fifth timer";
}

TEST_F(HpetTest, CounterRunsAtTenNanoseconds) {
  m.step_ns(12'345);
  EXPECT_EQ(read(0xf0), 0u) << "halted";
  write(0xf0, 0xffff'fff0);
  write(0x10, 1);
  m.step_ns(200);
  EXPECT_EQ(read(0xf0), 0x1'0000'0004u);
  EXPECT_EQ(read(0xf0, 4), 4u);
  EXPECT_EQ(read(0xf4, 4), 1u);
  write(0x10, 0);
  m.step_ns(1000);
  EXPECT_EQ(read(0xf0), 0x1'0000'0004u);
  write(0x10, 1);
  m.step_ns(10);
  EXPECT_EQ(read(0xf0), 0x1'0000'0005u);
}

TEST_F(HpetTest, ReadOnlyBitsAndRoutes) {
  write(0x00, ~u64{0});
  EXPECT_EQ(read(0x00), 0x0098'9680'8086'a301u);
  write(0x10, ~u64{0} ^ 1);
  EXPECT_EQ(read(0x10), 2u);
  write(0x120, ~u64{0});
  EXPECT_EQ(read(0x120), 0x00ff'0104'0000'c13eu) << "route 31 is not offered";
  write(0x120, 20 << 9);
  EXPECT_EQ(read(0x120) >> 9 & 31, 20u);
  write(0x120, 5 << 9);
  EXPECT_EQ(read(0x120) >> 9 & 31, 20u);
}

TEST_F(HpetTest, OddSizes) {
  EXPECT_EQ(m.read_mem(kBase, 1), 0xffu) << "bytes and words are no accesses of an HPET";
  m.write_mem(kBase + 0x10, 1, 1);
  EXPECT_EQ(read(0x10), 0u);
  write(0x10c, 0x1234'5678, 4);
  EXPECT_EQ(read(0x108), 0x1234'5678'ffff'ffffu);
  EXPECT_EQ(read(0x30), 0u);
  EXPECT_EQ(read(0x118), 0u);
}

TEST_F(HpetTest, OneShotEdge) {
  write(0x10, 1);
  timer(2, 20 << 9 | 0x4, 100);
  m.step_ns(999);
  EXPECT_EQ(m.pin_rises(20), 0u);
  m.step_ns(1);
  EXPECT_EQ(m.pin_rises(20), 1u);
  EXPECT_FALSE(m.pin_level(20));
  EXPECT_EQ(read(0x20), 0u) << "edges have no status";
  m.step_ns(1'000'000'000);
  EXPECT_EQ(m.pin_rises(20), 1u);
  // A comparator already passed matches only after the counter's whole turn (§2.3.9.2.1).
  timer(2, 20 << 9 | 0x4, 50);
  m.step_ns(1'000'000'000);
  EXPECT_EQ(m.pin_rises(20), 1u);
}

TEST_F(HpetTest, NarrowOneShotMatchesAtEveryTurn) {
  write(0x10, 1);
  timer(1, 20 << 9 | 0x104, 100);
  const i64 turn = (i64{1} << 32) * 10;
  m.step_ns(1000);
  EXPECT_EQ(m.pin_rises(20), 1u);
  m.step_ns(turn - 1);
  EXPECT_EQ(m.pin_rises(20), 1u);
  m.step_ns(1);
  EXPECT_EQ(m.pin_rises(20), 2u);
}

TEST_F(HpetTest, PeriodicAccumulates) {  // §2.3.9.2.2
  write(0x10, 1);
  write(0x100, 20 << 9 | 0x4c);  // periodic, VAL_SET
  write(0x108, 1000);            // the first match
  write(0x108, 300);             // the period
  EXPECT_EQ(read(0x108), 1000u);
  EXPECT_EQ(read(0x100) & 0x40, 0u);
  m.step_ns(10'000);
  EXPECT_EQ(m.pin_rises(20), 1u);
  EXPECT_EQ(read(0x108), 1300u);
  // Faster than 10 us: stretched, and late periods are one interrupt.
  m.step_ns(30'000);
  EXPECT_EQ(m.pin_rises(20), 4u);
  EXPECT_GT(read(0x108), read(0xf0));
}

TEST_F(HpetTest, PeriodicFromA32BitDriver) {
  write(0x10, 1);
  write(0x100, 20 << 9 | 0x14c, 4);
  write(0x108, 5000, 4);
  write(0x108, 2000, 4);
  m.step_ns(50'000 - 1);
  EXPECT_EQ(m.pin_rises(20), 0u);
  for (unsigned n = 1; n <= 10; n++) {
    m.step_ns(n == 1 ? 1 : 20'000);
    EXPECT_EQ(m.pin_rises(20), n);
  }
}

TEST_F(HpetTest, LevelHoldsUntilItsStatusIsCleared) {
  write(0x10, 1);
  timer(3, 21 << 9 | 0x6, 100);
  m.step_ns(1000);
  EXPECT_TRUE(m.pin_level(21));
  EXPECT_EQ(read(0x20), 8u);
  write(0x20, 0x7);
  EXPECT_TRUE(m.pin_level(21));
  write(0x100 + 0x60, 21 << 9 | 0x2);  // interrupts off: the status stays
  EXPECT_FALSE(m.pin_level(21));
  EXPECT_EQ(read(0x20), 8u);
  write(0x100 + 0x60, 21 << 9 | 0x6);
  EXPECT_TRUE(m.pin_level(21));
  write(0x20, 0x8);
  EXPECT_FALSE(m.pin_level(21));
  EXPECT_EQ(read(0x20), 0u);
}

TEST_F(HpetTest, TwoTimersShareALevel) {
  write(0x10, 1);
  timer(2, 21 << 9 | 0x6, 100);
  timer(3, 21 << 9 | 0x6, 200);
  m.step_ns(2000);
  write(0x20, 0x4);
  EXPECT_TRUE(m.pin_level(21));
  write(0x20, 0x8);
  EXPECT_FALSE(m.pin_level(21));
}

TEST_F(HpetTest, LegacyReplacement) {
  EXPECT_EQ(hpet.set_irq(Hpet::kPitInput, true), IrqStatus::Delivered);
  EXPECT_TRUE(m.pin_level(0));
  hpet.set_irq(Hpet::kRtcInput, true);
  EXPECT_TRUE(m.pin_level(8));
  write(0x10, 2);
  EXPECT_TRUE(m.pin_level(0)) << "only together with the enable bit";
  write(0x10, 3);
  EXPECT_TRUE(m.pin_level(99));
  EXPECT_FALSE(m.pin_level(0));
  EXPECT_FALSE(m.pin_level(8));
  hpet.set_irq(Hpet::kPitInput, false);
  EXPECT_EQ(hpet.set_irq(Hpet::kPitInput, true), IrqStatus::Ignored);
  const unsigned before = m.pin_rises(0);
  timer(0, 20 << 9 | 0x4, 100);
  timer(1, 20 << 9 | 0x4, 200);
  m.step_ns(2000);
  EXPECT_EQ(m.pin_rises(0), before + 1) << "timer 0 is IRQ0, whatever its route";
  EXPECT_EQ(m.pin_rises(8), 2u);
  EXPECT_EQ(m.pin_rises(20), 0u);
  write(0x10, 1);
  EXPECT_FALSE(m.pin_level(99));
  EXPECT_TRUE(m.pin_level(0)) << "the PIT's level is back";
}

TEST_F(HpetTest, Messages) {
  write(0x10, 1);
  write(0x150, 0xfee0'1000'0000'4045);
  timer(2, 0x4004, 100);
  m.step_ns(1000);
  EXPECT_EQ(m.take_msis(), (std::vector<MsiMessage>{{0xfee0'1000, 0x4045}}));
  TestMachine other;
  Hpet plain("hpet", {}, other.time, other);
  plain.reset(ResetKind::PowerOn);
  plain.write({0x100, 8}, 0x4004);
  EXPECT_EQ(plain.read({0x100, 8}) & 0xc000, 0u) << "without the capability";
}

TEST_F(HpetTest, SavedInMidPeriodGoesOn) {
  write(0x10, 1);
  write(0x100, 20 << 9 | 0x4c);
  write(0x108, 5000);
  write(0x108, 3000);
  timer(2, 21 << 9 | 0x6, 100);
  m.step_ns(60'000);
  TestMachine other;
  other.clock.advance_to(m.clock.now_ns());
  Hpet twin("hpet", {.timers = 4, .routes = 0x00ff'0104, .fsb = true}, other.time, other, &other,
            other.pin(99));
  EXPECT_EQ(TestMachine::round_trip(hpet, twin), std::vector<std::string>{});
  EXPECT_EQ(other.pin_rises(21), 0u) << "a load is no edge";
  const unsigned rises = m.pin_rises(20);
  m.step_ns(100'000);
  other.step_ns(100'000);
  EXPECT_EQ(other.pin_rises(20), m.pin_rises(20) - rises);
  EXPECT_EQ(twin.counter(), hpet.counter());
  EXPECT_EQ(twin.read({0x108, 8}), hpet.read({0x108, 8}));
  twin.write({0x20, 8}, 4);
  EXPECT_FALSE(other.pin_level(21));
}

}  // namespace
}  // namespace menura
