#include "event/timer.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>

#include "event/tape.h"
#include "state/tree.h"

namespace menura {
namespace {

struct TimerTest : testing::Test {
  ScriptedTape tape;
  VirtualClock clock{tape};
  TimerQueue queue{clock};
  std::vector<int> order;
};

TEST_F(TimerTest, RunsInOrderOfDeadlineThenOfArming) {
  Timer a(queue, [&] { order.push_back(1); }), b(queue, [&] { order.push_back(2); }),
      c(queue, [&] { order.push_back(3); }), d(queue, [&] { order.push_back(4); });
  c.arm(20);
  a.arm(10);
  d.arm(20);
  b.arm(10);
  EXPECT_EQ(queue.next_deadline(), 10);
  clock.advance_to(9);
  EXPECT_EQ(queue.run_expired(), 0u);
  clock.advance_to(10);
  EXPECT_EQ(queue.run_expired(), 2u);
  EXPECT_EQ(queue.next_deadline(), 20);
  clock.advance_to(100);
  EXPECT_EQ(queue.run_expired(), 2u);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(queue.next_deadline(), TimerQueue::kNever);
  EXPECT_FALSE(a.armed());
}

TEST_F(TimerTest, ReArmedInThePastWaitsForTheNextCall) {
  int ran = 0;
  std::optional<Timer> timer;
  timer.emplace(queue, [&] {
    ran++;
    timer->arm(0);
  });
  timer->arm(0);
  EXPECT_EQ(queue.run_expired(), 1u);
  EXPECT_EQ(queue.run_expired(), 1u);
  EXPECT_EQ(ran, 2);
  EXPECT_TRUE(timer->armed());
}

TEST_F(TimerTest, CallbackMayCancelAndDestroyOthers) {
  auto later = std::make_unique<Timer>(queue, [&] { order.push_back(9); });
  Timer other(queue, [&] { order.push_back(8); });
  Timer first(queue, [&] {
    order.push_back(1);
    later.reset();
    other.cancel();
  });
  first.arm(1);
  later->arm(1);
  other.arm(1);
  clock.advance_to(1);
  EXPECT_EQ(queue.run_expired(), 1u);
  EXPECT_EQ(order, std::vector<int>{1});
}

TEST_F(TimerTest, CallbackMayDestroyItsOwnTimer) {
  std::unique_ptr<Timer> timer;
  std::string text(100, 'x');  // in the closure: it must outlive the call
  timer = std::make_unique<Timer>(queue, [&, text] {
    timer.reset();
    order.push_back(static_cast<int>(text.size()));
  });
  timer->arm(0);
  queue.run_expired();
  EXPECT_EQ(order, std::vector<int>{100});
}

TEST_F(TimerTest, ArmReplacesAndNeverDisarms) {
  Timer timer(queue, [&] { order.push_back(1); });
  timer.arm(5);
  timer.arm(50);
  EXPECT_EQ(queue.next_deadline(), 50);
  timer.arm(TimerQueue::kNever);
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(queue.next_deadline(), TimerQueue::kNever);
  timer.cancel();
}

TEST_F(TimerTest, TellsOnlyOfEarlierDeadlines) {
  int told = 0;
  queue.on_earlier([&] { told++; });
  Timer a(queue, [] {}), b(queue, [] {});
  a.arm(100);
  EXPECT_EQ(told, 1);
  b.arm(100);
  b.arm(200);
  EXPECT_EQ(told, 1);
  b.arm(99);
  EXPECT_EQ(told, 2);
}

TEST_F(TimerTest, StateCarriesTheDeadline) {
  Timer a(queue, [&] { order.push_back(1); }), b(queue, [&] { order.push_back(2); });
  a.arm(1234);
  const StateTree armed = save_state(a);
  ASSERT_TRUE(load_state(b, armed));
  EXPECT_EQ(b.deadline(), 1234);
  a.cancel();
  ASSERT_TRUE(load_state(b, save_state(a)));
  EXPECT_FALSE(b.armed());
}

// Against the obvious model: a sorted list.
TEST_F(TimerTest, RandomOperationsAgreeWithASortedList) {
  std::mt19937 random(1);
  struct Expected {
    i64 deadline;
    u64 sequence;
    int timer;
    bool operator<(const Expected& o) const {
      return std::tie(deadline, sequence) < std::tie(o.deadline, o.sequence);
    }
  };
  std::set<Expected> model;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 16; i++)
    timers.push_back(std::make_unique<Timer>(queue, [this, i] { order.push_back(i); }));
  for (u64 step = 0; step < 20000; step++) {
    const int t = static_cast<int>(random() % 16);
    const auto forget = [&] {
      std::erase_if(model, [&](const Expected& e) { return e.timer == t; });
    };
    switch (random() % 4) {
      case 0:
      case 1: {
        const i64 deadline = clock.now_ns() + static_cast<i64>(random() % 50);
        forget();
        model.insert({deadline, step, t});
        timers[t]->arm(deadline);
        break;
      }
      case 2:
        forget();
        timers[t]->cancel();
        break;
      case 3: {
        clock.advance_to(clock.now_ns() + static_cast<i64>(random() % 20));
        std::vector<int> expected;
        while (!model.empty() && model.begin()->deadline <= clock.now_ns()) {
          expected.push_back(model.begin()->timer);
          model.erase(model.begin());
        }
        order.clear();
        queue.run_expired();
        ASSERT_EQ(order, expected) << "step " << step;
        break;
      }
    }
    ASSERT_EQ(queue.next_deadline(), model.empty() ? TimerQueue::kNever : model.begin()->deadline);
  }
}

}  // namespace
}  // namespace menura
