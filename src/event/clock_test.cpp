#include "event/clock.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/units.h"
#include "event/tape.h"

namespace menura {
namespace {

TEST(VirtualClock, StandsUntilStartedAndWhileStopped) {
  ScriptedTape tape;
  VirtualClock clock(tape);
  tape.advance(1000);
  EXPECT_EQ(clock.now_ns(), 0);
  EXPECT_FALSE(clock.running());
  clock.start();
  EXPECT_TRUE(clock.running());
  tape.advance(70);
  EXPECT_EQ(clock.now_ns(), 70);
  clock.stop();
  tape.advance(5000);
  EXPECT_EQ(clock.now_ns(), 70);
  clock.start();
  clock.start();  // no effect
  tape.advance(5);
  EXPECT_EQ(clock.now_ns(), 75);
  clock.stop();
  clock.stop();
  EXPECT_EQ(clock.now_ns(), 75);
}

TEST(VirtualClock, AdvancesOnlyForwardAndRestoresEitherWay) {
  ScriptedTape tape;
  VirtualClock clock(tape);
  clock.advance_to(100);
  clock.advance_to(40);
  EXPECT_EQ(clock.now_ns(), 100);
  clock.restore(7);
  EXPECT_EQ(clock.now_ns(), 7);
  clock.restore(kNsPerSecond * 60 * 60 * 24 * 365 * 30);  // a guest of thirty years
  clock.start();
  tape.advance(1);
  EXPECT_EQ(clock.now_ns(), kNsPerSecond * 60 * 60 * 24 * 365 * 30 + 1);
}

// The clock of a guest that runs may be behind the host's zero.
TEST(VirtualClock, RunsPastTheHostsOwnTime) {
  ScriptedTape tape;
  VirtualClock clock(tape);
  clock.restore(1'000'000);
  clock.start();
  EXPECT_EQ(clock.now_ns(), 1'000'000);
  tape.advance(3);
  EXPECT_EQ(clock.now_ns(), 1'000'003);
}

TEST(VirtualClock, TellsOfEachStart) {
  ScriptedTape tape;
  VirtualClock clock(tape);
  int starts = 0;
  clock.on_start([&] { starts++; });
  clock.start();
  clock.start();
  clock.stop();
  clock.start();
  EXPECT_EQ(starts, 2);
}

// A reader on another thread never sees time go back or jump while the clock starts and stops.
TEST(VirtualClock, IsMonotonicForReadersOnOtherThreads) {
  LiveTape tape;
  VirtualClock clock(tape);
  std::atomic<bool> over{false};
  std::thread reader([&] {
    while (!over) {
      const i64 now = clock.now_ns();
      EXPECT_GE(now, 0);
      EXPECT_LT(now, 100 * kNsPerSecond);
    }
  });
  for (int i = 0; i < 20000; i++) {
    clock.start();
    clock.stop();
  }
  over = true;
  reader.join();
}

TEST(Tape, LiveClockIsTheHostsMonotonicClock) {
  LiveTape tape;
  EXPECT_TRUE(tape.clock_runs());
  const auto host_now = [] {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  };
  const i64 before = host_now();
  const i64 now = tape.host_clock_ns();
  EXPECT_LE(before, now);
  EXPECT_LE(now, host_now());
  const i64 wall =
      std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  EXPECT_NEAR(static_cast<double>(tape.wall_clock_ns()), static_cast<double>(wall), 5e9);
}

TEST(Tape, LiveRandomnessDiffers) {
  LiveTape tape;
  std::array<std::byte, 32> a{}, b{};
  tape.random(a);
  tape.random(b);
  EXPECT_NE(a, b);
  tape.random({});
}

TEST(Tape, ScriptedRandomnessRepeatsWithItsSeed) {
  std::array<std::byte, 32> a{}, b{}, c{};
  ScriptedTape(5).random(a);
  ScriptedTape(5).random(b);
  ScriptedTape(6).random(c);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

TEST(Tape, ScriptedWallClockMovesWithTheClock) {
  ScriptedTape tape;
  tape.advance(10);
  tape.set_wall_clock(1'000);
  EXPECT_EQ(tape.wall_clock_ns(), 1'000);
  tape.advance(5);
  EXPECT_EQ(tape.wall_clock_ns(), 1'005);
}

}  // namespace
}  // namespace menura
