#include "base/log.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/trace.h"

namespace menura {
namespace {

TRACE_EVENT(kApple, "test.apple", "{} apples at {:#x}");
TRACE_EVENT(kPear, "test.pear", "pear");

struct LogTest : testing::Test {
  void SetUp() override {
    set_log_sink(
        [this](LogLevel level, std::string_view text) { lines.emplace_back(level, text); });
    set_trace_sink([this](const TraceEvent& event, std::string_view text) {
      traced.push_back(std::string(event.name) + " " + std::string(text));
    });
  }
  void TearDown() override {
    set_log_sink({});
    set_trace_sink({});
    set_log_level(LogLevel::Info);
    enable_guest_errors(false);
    enable_trace("test.*", false);
  }
  std::vector<std::pair<LogLevel, std::string>> lines;
  std::vector<std::string> traced;
};

TEST_F(LogTest, LinesBelowTheLevelAreDropped) {
  log_debug("unseen {}", 1);
  log_info("seen {}", 2);
  set_log_level(LogLevel::Warning);
  log_info("unseen");
  log_warning("seen {}", 3);
  log_error("seen {}", 4);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], std::pair(LogLevel::Info, std::string("seen 2")));
  EXPECT_EQ(lines[1].second, "seen 3");
  EXPECT_EQ(lines[2].first, LogLevel::Error);
  EXPECT_FALSE(log_enabled(LogLevel::Info));
}

TEST_F(LogTest, WithoutASinkLinesGoToStderr) {
  set_log_sink({});
  testing::internal::CaptureStderr();
  log_info("plain");
  log_error("bad {}", 7);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "menura: plain\nmenura: error: bad 7\n");
}

TEST_F(LogTest, GuestErrorsAreOffAndThenRateLimited) {
  guest_error("pit", "unseen");
  EXPECT_TRUE(lines.empty());
  enable_guest_errors(true);
  guest_error("pit", "mode {}", 9);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].second, "guest error: pit: mode 9");
  for (int i = 0; i < 100'000; i++) guest_error("pit", "again");
  EXPECT_GE(lines.size(), 100u);
  EXPECT_LT(lines.size(), 2000u) << "a hundred lines a second";
  // The next second tells how many it did not show.
  const size_t shown = lines.size();
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  guest_error("pit", "later");
  ASSERT_EQ(lines.size(), shown + 2);
  EXPECT_TRUE(lines[shown].second.starts_with("guest errors: ")) << lines[shown].second;
  EXPECT_TRUE(lines[shown].second.ends_with(" more were not shown")) << lines[shown].second;
}

TEST_F(LogTest, LinesOfThreadsDoNotMix) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++)
    threads.emplace_back([t] {
      for (int i = 0; i < 500; i++) log_info("thread {} says {}", t, "abcdefghijklmnop");
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lines.size(), 2000u);
}

TEST_F(LogTest, TraceEventsAreFoundByNameAndSwitchedByGlob) {
  size_t found = 0;
  for (const TraceEvent* event : trace_events()) found += event->name.starts_with("test.") ? 1 : 0;
  EXPECT_EQ(found, 2u);
  trace(kApple, 1, 0x10);
  EXPECT_TRUE(traced.empty());
  EXPECT_EQ(enable_trace("test.app*"), 1u);
  trace(kApple, 2, 0x20);
  trace(kPear);
  EXPECT_EQ(traced, std::vector<std::string>{"test.apple 2 apples at 0x20"});
  EXPECT_EQ(enable_trace("test.*"), 2u);
  trace(kPear);
  EXPECT_EQ(traced.back(), "test.pear pear");
  EXPECT_EQ(enable_trace("test.*", false), 2u);
  trace(kPear);
  EXPECT_EQ(traced.size(), 2u);
  EXPECT_EQ(enable_trace("no.such.event"), 0u);
}

TEST_F(LogTest, TraceCostsLittleWhileOff) {
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 1'000'000; i++) trace(kApple, i, i);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
  EXPECT_TRUE(traced.empty());
}

}  // namespace
}  // namespace menura
