#include "event/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <thread>

#include "base/units.h"

namespace menura {
namespace {

struct Pair {
  UniqueFd a, b;
  Pair() {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    a = UniqueFd(ends[0]);
    b = UniqueFd(ends[1]);
  }
};

void write_byte(const UniqueFd& fd) { ensure(::write(fd.get(), "x", 1) == 1, "one byte"); }
void read_byte(const UniqueFd& fd) {
  char c;
  ensure(::read(fd.get(), &c, 1) == 1, "one byte");
}

struct EventLoopTest : testing::Test {
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
};

TEST_F(EventLoopTest, PostedFunctionsRunInOrderUnderTheLock) {
  std::vector<int> order;
  loop->post([&] {
    EXPECT_TRUE(lock.held());
    order.push_back(1);
    loop->post([&] { order.push_back(3); });
  });
  loop->post([&] { order.push_back(2); });
  loop->post([&] { loop->quit(7); });
  EXPECT_EQ(loop->run(), 7);
  EXPECT_FALSE(lock.held());
  while (loop->run_once(0)) {}
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(EventLoopTest, PostFromAnotherThreadWakesASleepingLoop) {
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop->post([&] { loop->quit(3); });
  });
  EXPECT_EQ(loop->run(), 3);
  other.join();
}

TEST_F(EventLoopTest, QuitFromAnotherThreadAndBeforeRun) {
  loop->quit(5);
  EXPECT_EQ(loop->run(), 5);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    loop->quit(6);
  });
  EXPECT_EQ(loop->run(), 6);  // runs again after having quit
  other.join();
}

TEST_F(EventLoopTest, RunOnceTellsWhetherAnythingRan) {
  EXPECT_FALSE(loop->run_once(0));
  const i64 before = tape.host_clock_ns();
  EXPECT_FALSE(loop->run_once(5 * kNsPerMs));
  EXPECT_GE(tape.host_clock_ns() - before, 5 * kNsPerMs);
  loop->post([] {});
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_FALSE(loop->run_once(0));
}

TEST_F(EventLoopTest, EachPostRunsOnceUnderStress) {
  constexpr int kThreads = 4, kPosts = 5000;
  int ran = 0;
  std::vector<int> last(kThreads, -1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; i++) {
        const auto count = [&, t, i] {
          EXPECT_EQ(last[t], i - 1);  // in the poster's order
          last[t] = i;
          if (++ran == kThreads * kPosts) loop->quit(0);
        };
        loop->post(count);
        if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  loop->run();
  EXPECT_EQ(ran, kThreads * kPosts);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(EventLoopTest, CompletionsRunOnceUnderStress) {
  constexpr int kThreads = 4, kEach = 5000;
  int ran = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; i++) loop->complete([&] { ran++; });
    });
  // The loop and a draining thread at once: a vCPU in a reset, for example.
  std::thread drainer([&] {
    const MachineLock::Guard guard(lock);
    loop->complete_until([&] { return ran > 1000; });
  });
  while (true) {
    loop->run_once(kNsPerMs);
    const MachineLock::Guard guard(lock);
    if (ran == kThreads * kEach) break;
  }
  drainer.join();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(EventLoopTest, TimersWakeTheLoopWhenTheirTimeComes) {
  for (const i64 delay : {i64{0}, 200 * kNsPerUs, 3 * kNsPerMs}) {
    i64 ran_at = 0;
    Timer timer(loop->host_time(), [&] {
      EXPECT_TRUE(lock.held());
      ran_at = tape.host_clock_ns();
      loop->quit(0);
    });
    const i64 deadline = tape.host_clock_ns() + delay;
    timer.arm(deadline);
    loop->run();
    EXPECT_GE(ran_at, deadline);
    EXPECT_LT(ran_at - deadline, 500 * kNsPerMs);  // generous: other work shares this host
  }
}

TEST_F(EventLoopTest, AnEarlierTimerFromAnotherThreadWakesTheLoop) {
  Timer far(loop->host_time(), [&] { loop->quit(1); });
  Timer near(loop->host_time(), [&] { loop->quit(2); });
  far.arm(tape.host_clock_ns() + 20 * kNsPerSecond);
  std::thread vcpu([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const MachineLock::Guard guard(lock);
    near.arm(tape.host_clock_ns() + kNsPerMs);
  });
  EXPECT_EQ(loop->run(), 2);
  vcpu.join();
}

TEST_F(EventLoopTest, VirtualTimersStandWhileTheirClockStands) {
  int ran = 0;
  Timer timer(loop->virtual_time(), [&] { ran++; });
  timer.arm(kNsPerMs);
  EXPECT_FALSE(loop->run_once(5 * kNsPerMs));
  // Also one whose time has come: the machine is paused.
  timer.arm(0);
  EXPECT_FALSE(loop->run_once(kNsPerMs));
  EXPECT_EQ(ran, 0);
  timer.arm(kNsPerMs);
  std::thread monitor([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const MachineLock::Guard guard(lock);
    loop->virtual_clock().start();
  });
  while (ran == 0) loop->run_once(-1);  // the start wakes us
  monitor.join();
  EXPECT_GE(loop->virtual_clock().now_ns(), kNsPerMs);
  loop->virtual_clock().stop();
}

// A clock that moves by hand: the loop sleeps on, whatever its deadlines.
TEST(EventLoopScripted, DoesNotSpinTowardsADeadlineThatNeverComesNearer) {
  ScriptedTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  int ran = 0;
  Timer timer(loop->host_time(), [&] { ran++; });
  timer.arm(1000);
  EXPECT_FALSE(loop->run_once(2 * kNsPerMs));
  tape.advance(1000);
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_EQ(ran, 1);
}

TEST_F(EventLoopTest, WatchesReportWhatTheyAreInterestedIn) {
  Pair pair;
  FdEvents seen;
  Watch watch = loop->watch(pair.a.get(), {.readable = true},
                            [&](FdEvents e) {
                              EXPECT_TRUE(lock.held());
                              seen = e;
                            })
                    .value();
  EXPECT_FALSE(loop->run_once(0));
  write_byte(pair.b);
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_EQ(seen, (FdEvents{.readable = true}));
  EXPECT_TRUE(loop->run_once(0)) << "level-triggered";
  watch.set({.writable = true});
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_EQ(seen, (FdEvents{.writable = true}));
  watch.set({.readable = true, .writable = true});
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_EQ(seen, (FdEvents{.readable = true, .writable = true}));
  watch.set({});
  EXPECT_FALSE(loop->run_once(0));
  watch.set({.readable = true});
  EXPECT_TRUE(loop->run_once(0));
  watch.reset();
  EXPECT_FALSE(loop->run_once(0));
  EXPECT_FALSE(watch);
}

TEST_F(EventLoopTest, HangUpsAreReportedButNotWithoutInterest) {
  Pair pair;
  FdEvents seen;
  int calls = 0;
  Watch watch = loop->watch(pair.a.get(), {.readable = true},
                            [&](FdEvents e) {
                              seen = e;
                              calls++;
                            })
                    .value();
  pair.b.reset();
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_EQ(seen, (FdEvents{.readable = true, .hangup = true}));
  watch.set({});
  calls = 0;
  for (int i = 0; i < 10; i++) loop->run_once(0);
  EXPECT_EQ(calls, 0);
  // And it does not keep the loop awake: at most the one edge.
  loop->run_once(0);
  const i64 before = tape.host_clock_ns();
  loop->run_once(5 * kNsPerMs);
  EXPECT_GE(tape.host_clock_ns() - before, 5 * kNsPerMs);
  watch.set({.readable = true});
  EXPECT_TRUE(loop->run_once(-1));
  EXPECT_TRUE(seen.hangup);
}

TEST_F(EventLoopTest, AWatchMayEndItselfAndOthersInItsCallback) {
  Pair one, two;
  Watch first, second;
  int calls = 0;
  const std::string text(100, 'x');  // lives in the closure, which must outlive the call
  const auto callback = [&, text](FdEvents) {
    first.reset();
    second.reset();  // is ready, too, and must not be called any more
    calls += static_cast<int>(text.size());
  };
  first = loop->watch(one.a.get(), {.readable = true}, callback).value();
  second = loop->watch(two.a.get(), {.readable = true}, callback).value();
  write_byte(one.b);
  write_byte(two.b);
  loop->run_once(-1);
  EXPECT_EQ(calls, 100);
  EXPECT_FALSE(loop->run_once(0));
}

TEST_F(EventLoopTest, AWatchMayBeReplacedInItsCallback) {
  Pair pair;
  Watch watch;
  int second_calls = 0;
  watch = loop->watch(pair.a.get(), {.readable = true},
                      [&](FdEvents) {
                        watch.reset();
                        watch = loop->watch(pair.a.get(), {.readable = true},
                                            [&](FdEvents) {
                                              second_calls++;
                                              read_byte(pair.a);
                                            })
                                    .value();
                      })
              .value();
  write_byte(pair.b);
  loop->run_once(-1);
  EXPECT_EQ(second_calls, 0);
  loop->run_once(-1);
  EXPECT_EQ(second_calls, 1);
  EXPECT_FALSE(loop->run_once(0));
}

TEST_F(EventLoopTest, AWatchEndedByAnotherThreadIsNotCalled) {
  Pair pair;
  Watch watch =
      loop->watch(pair.a.get(), {.readable = true}, [&](FdEvents) { read_byte(pair.a); }).value();
  std::thread other([&] {
    for (int i = 0; i < 300; i++) {
      write_byte(pair.b);
      const MachineLock::Guard guard(lock);
      watch.reset();
      watch = loop->watch(pair.a.get(), {.readable = true}, [&](FdEvents) { read_byte(pair.a); })
                  .value();
    }
    loop->quit(0);
  });
  loop->run();
  other.join();
}

TEST_F(EventLoopTest, RegularFilesAreAlwaysReady) {
  const UniqueFd file = open_file("/proc/self/exe", O_RDONLY).value();
  int calls = 0;
  Watch watch = loop->watch(file.get(), {.readable = true},
                            [&](FdEvents e) {
                              EXPECT_EQ(e, FdEvents{.readable = true});
                              if (++calls == 3) watch.set({});
                            })
                    .value();
  for (int i = 0; i < 5; i++) loop->run_once(0);
  EXPECT_EQ(calls, 3);
  watch.set({.readable = true});
  EXPECT_TRUE(loop->run_once(-1));
  watch.reset();
  EXPECT_FALSE(loop->run_once(0));
}

TEST_F(EventLoopTest, ADescriptorHasOneWatch) {
  Pair pair;
  const Watch watch = loop->watch(pair.a.get(), {.readable = true}, [](FdEvents) {}).value();
  const Result<Watch> again = loop->watch(pair.a.get(), {.writable = true}, [](FdEvents) {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::Exists);
  const Result<Watch> bad = loop->watch(-1, {}, [](FdEvents) {});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().os_errno, EBADF);
}

// Posting functions that post again does not keep watches and timers from running.
TEST_F(EventLoopTest, EndlessPostsStarveNobody) {
  Pair pair;
  bool over = false;
  int watched = 0, ticks = 0;
  std::function<void()> again = [&] {
    if (!over) loop->post(again);
  };
  for (int i = 0; i < 200; i++) loop->post(again);
  Watch watch = loop->watch(pair.a.get(), {.writable = true}, [&](FdEvents) { watched++; }).value();
  std::optional<Timer> tick;
  tick.emplace(loop->host_time(), [&] {
    ticks++;
    tick->arm(0);
  });
  tick->arm(0);
  for (int i = 0; i < 50; i++) loop->run_once(-1);
  EXPECT_EQ(watched, 50);
  EXPECT_GE(ticks, 49);
  over = true;
  while (loop->run_once(0) && watched < 200) {}
}

// Idle costs nothing: no wake-ups, no processor time.
TEST_F(EventLoopTest, AnIdleLoopSleeps) {
  Pair pair;
  Watch watch = loop->watch(pair.a.get(), {.readable = true}, [](FdEvents) {}).value();
  Timer timer(loop->host_time(), [&] { loop->quit(0); });
  timer.arm(tape.host_clock_ns() + 100 * kNsPerMs);
  rusage before{}, after{};
  ::getrusage(RUSAGE_THREAD, &before);
  loop->run();
  ::getrusage(RUSAGE_THREAD, &after);
  EXPECT_LE(after.ru_nvcsw - before.ru_nvcsw, 5);
}

}  // namespace
}  // namespace menura
