#include "hw/acpi/pm_timer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "hw/core/test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

TEST(PmTimer, TicksAtKnownTimes) {
  // Worked out by hand from 3579545 Hz.
  EXPECT_EQ(PmTimer::ticks_at(-5), 0u);
  EXPECT_EQ(PmTimer::ticks_at(0), 0u);
  EXPECT_EQ(PmTimer::ticks_at(279), 0u);  // one tick is 279.365... ns
  EXPECT_EQ(PmTimer::ticks_at(280), 1u);
  EXPECT_EQ(PmTimer::ticks_at(1'000'000'000), 3'579'545u);
  EXPECT_EQ(PmTimer::ticks_at(999'999'999), 3'579'544u);
  EXPECT_EQ(PmTimer::ticks_at(i64{3600} * 24 * 365 * 1'000'000'000), u64{3'579'545} * 31'536'000);
  EXPECT_EQ(PmTimer::start_of(1), 280);
  EXPECT_EQ(PmTimer::start_of(3'579'545), 1'000'000'000);
  EXPECT_EQ(PmTimer::start_of(1 << 23), 2'343'484'438);  // 2^23 / 3579545 s, rounded up
}

TEST(PmTimer, ATickStartsAtItsFirstNanosecond) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 100'000; i++) {
    const u64 tick = random() >> (random() % 30 + 30);
    const i64 start = PmTimer::start_of(tick);
    ASSERT_EQ(PmTimer::ticks_at(start), tick);
    ASSERT_LT(PmTimer::ticks_at(start - 1), tick + (tick == 0));
  }
}

TEST(PmTimer, WrapsAt24Bits) {
  TestMachine m;
  PmTimer timer(m.time, [] {});
  m.step_ns(PmTimer::start_of(0xff'ffff));
  EXPECT_EQ(timer.value(), 0xff'ffffu);
  m.step_ns(280);
  EXPECT_EQ(timer.value(), 0u);
}

TEST(PmTimer, OverflowsAtEveryToggleOfTheHighestBit) {
  TestMachine m;
  unsigned overflows = 0;
  PmTimer timer(m.time, [&] { overflows++; });
  m.step_ns(PmTimer::start_of(0x80'0000) - 1);
  EXPECT_FALSE(timer.overflowed());
  m.step_ns(1);
  EXPECT_EQ(timer.value(), 0x80'0000u);
  EXPECT_TRUE(timer.overflowed());  // also when nobody watches
  EXPECT_EQ(overflows, 0u);
  timer.clear_overflow();
  EXPECT_FALSE(timer.overflowed());
  timer.watch(true);
  m.step_ns(PmTimer::start_of(0x100'0000) - PmTimer::start_of(0x80'0000) - 1);
  EXPECT_EQ(overflows, 0u);
  m.step_ns(1);
  EXPECT_EQ(timer.value(), 0u);
  EXPECT_EQ(overflows, 1u);
  m.step_ns(10'000'000'000);  // not cleared: no more calls
  EXPECT_EQ(overflows, 1u);
  timer.clear_overflow();
  ASSERT_TRUE(m.step_to_next_timer());
  EXPECT_EQ(overflows, 2u);
  EXPECT_EQ(timer.value() & 0x7f'ffff, 0u);
}

TEST(PmTimer, ResetBeginsAtZero) {
  TestMachine m;
  PmTimer timer(m.time, [] {});
  m.step_ns(123'456'789);
  EXPECT_NE(timer.value(), 0u);
  timer.reset();
  EXPECT_EQ(timer.value(), 0u);
  m.step_ns(280);
  EXPECT_EQ(timer.value(), 1u);
}

TEST(PmTimer, RoundTripRearms) {
  TestMachine m;
  unsigned first = 0, second = 0;
  PmTimer timer(m.time, [&] { first++; }), twin(m.time, [&] { second++; });
  m.step_ns(1'000);
  timer.reset();
  timer.watch(true);
  ASSERT_TRUE(load_state(twin, save_state(timer)));
  ASSERT_TRUE(twin.restored());
  m.step_ns(3'000'000'000);
  EXPECT_EQ(first, 1u);
  EXPECT_EQ(second, 1u);
  EXPECT_EQ(twin.value(), timer.value());
}

}  // namespace
}  // namespace menura
