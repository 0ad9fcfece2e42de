#include "event/event_loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "base/units.h"

namespace menura {
namespace {

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

}  // namespace
}  // namespace menura
