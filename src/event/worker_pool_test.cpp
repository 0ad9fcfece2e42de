#include "event/worker_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <set>

#include "base/units.h"

namespace menura {
namespace {

struct WorkerPoolTest : testing::Test {
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
};

TEST_F(WorkerPoolTest, StartsNoThreadWithoutWorkAndFewForLittle) {
  WorkerPool pool(*loop, 4);
  EXPECT_EQ(pool.threads(), 0u);
  for (int i = 0; i < 5; i++) {
    bool done = false;
    pool.submit([] {}, [&] { done = true; });
    while (!done) loop->run_once(kNsPerSecond);
  }
  EXPECT_GE(pool.threads(), 1u);
  EXPECT_LE(pool.threads(), 4u);
}

TEST_F(WorkerPoolTest, WorkRunsOnNamedThreadsWithoutTheLockAndDoneInTheLoop) {
  WorkerPool pool(*loop, 1, "qcow2");
  const auto loop_thread = std::this_thread::get_id();
  bool done = false;
  pool.submit(
      [&] {
        EXPECT_NE(std::this_thread::get_id(), loop_thread);
        EXPECT_FALSE(lock.held());
        char name[16] = {};
        pthread_getname_np(pthread_self(), name, sizeof name);
        EXPECT_STREQ(name, "qcow2 0");
      },
      [&] {
        EXPECT_EQ(std::this_thread::get_id(), loop_thread);
        EXPECT_TRUE(lock.held());
        done = true;
      });
  while (!done) loop->run_once(kNsPerSecond);
}

TEST_F(WorkerPoolTest, UsesAllItsThreadsAtOnce) {
  constexpr unsigned kThreads = 3;
  WorkerPool pool(*loop, kThreads);
  std::atomic<unsigned> here{0};
  unsigned done = 0;
  // Each waits for all: finishes only if they run side by side.
  for (unsigned i = 0; i < kThreads; i++)
    pool.submit(
        [&] {
          here++;
          while (here < kThreads) std::this_thread::yield();
        },
        [&] { done++; });
  while (done < kThreads) loop->run_once(kNsPerSecond);
  EXPECT_EQ(pool.threads(), kThreads);
}

TEST_F(WorkerPoolTest, DestructionFinishesQueuedWork) {
  std::atomic<int> worked{0};
  int done = 0;
  {
    WorkerPool pool(*loop, 2);
    for (int i = 0; i < 100; i++) pool.submit([&] { worked++; }, [&] { done++; });
  }
  EXPECT_EQ(worked, 100);
  while (loop->run_once(0)) {}
  EXPECT_EQ(done, 100);
}

TEST_F(WorkerPoolTest, CompleteUntilServesOnlyCompletionsUnderTheCallersLock) {
  WorkerPool pool(*loop, 2);
  bool posted = false;
  loop->post([&] { posted = true; });
  int done = 0;
  {
    const MachineLock::Guard guard(lock);
    for (int i = 0; i < 20; i++)
      pool.submit([] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); },
                  [&] { done++; });
    loop->complete_until([&] { return done == 20; });
  }
  EXPECT_FALSE(posted);
  loop->run_once(0);
  EXPECT_TRUE(posted);
}

// A completion that itself drains: the ones behind it must be seen.
TEST_F(WorkerPoolTest, CompletionsMayDrainInTurn) {
  WorkerPool pool(*loop, 2);
  std::vector<int> order;
  for (int i = 0; i < 8; i++)
    pool.submit([] {},
                [&, i] {
                  order.push_back(i);
                  if (order.size() == 1) loop->complete_until([&] { return order.size() == 8; });
                });
  while (order.size() < 8) loop->run_once(kNsPerSecond);
  EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 8u);
}

// The third door: a Tape that holds completions back decides when they take effect.
struct HoldingTape : ScriptedTape {
  void completion(std::function<void()> deliver) override { held.push_back(std::move(deliver)); }
  std::vector<std::function<void()>> held;
};

TEST(WorkerPoolTape, CompletionsPassTheDoor) {
  HoldingTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  WorkerPool pool(*loop, 1);
  bool done = false;
  pool.submit([] {}, [&] { done = true; });
  while (tape.held.empty()) loop->run_once(kNsPerSecond);
  EXPECT_FALSE(done);
  tape.held[0]();
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace menura
