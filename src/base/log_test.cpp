// The log, guest errors and trace events. Their sinks are the process's, so each test restores them.
#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/trace.h"

namespace menura {
namespace {

using testing::ElementsAre;

TRACE_EVENT(kOne, "logtest.one", "first {} second {:#x}");
TRACE_EVENT(kTwo, "logtest.two", "nothing to say");

struct LogTest : testing::Test {
  LogTest() {
    set_log_sink([this](LogLevel, std::string_view text) { lines.emplace_back(text); });
    set_trace_sink([this](const TraceEvent& event, std::string_view text) {
      lines.push_back(std::string(event.name) + " " + std::string(text));
    });
  }
  ~LogTest() override {
    set_log_sink({});
    set_log_level(LogLevel::Info);
    enable_guest_errors(false);
    enable_trace("*", false);
    set_trace_sink({});
  }
  std::vector<std::string> lines;
};

TEST_F(LogTest, LevelsBelowAreDropped) {
  log_debug("dropped {}", 1);
  log_info("kept {}", 2);
  set_log_level(LogLevel::Error);
  log_warning("dropped {}", 3);
  log_error("kept {}", 4);
  EXPECT_THAT(lines, ElementsAre("kept 2", "kept 4"));
}

TEST_F(LogTest, GuestErrorsAreOffUntilAskedForAndThenBounded) {
  guest_error("pit", "written to {:#x}", 0x43);
  EXPECT_TRUE(lines.empty());
  enable_guest_errors(true);
  for (int i = 0; i < 100'000; i++) guest_error("pit", "again {}", i);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.front(), "guest error: pit: again 0");
  EXPECT_LE(lines.size(), 1000u);  // 100 in any second, and the loop is over in a few
}

TEST_F(LogTest, TraceEventsAreFoundByGlobAndOff) {
  trace(kOne, 1, 2);
  EXPECT_TRUE(lines.empty());
  EXPECT_EQ(enable_trace("logtest.*"), 2u);
  trace(kOne, 1, 2);
  trace(kTwo);
  EXPECT_EQ(enable_trace("logtest.one", false), 1u);
  trace(kOne, 1, 2);
  EXPECT_THAT(lines, ElementsAre("logtest.one first 1 second 0x2", "logtest.two nothing to say"));
  EXPECT_EQ(enable_trace("no.such.event"), 0u);
}

TEST_F(LogTest, WithoutASinkLinesGoToStandardError) {
  set_log_sink({});
  testing::internal::CaptureStderr();
  log_warning("disk {} is slow", "a");
  log_info("plain");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "menura: warning: disk a is slow\nmenura: plain\n");
}

}  // namespace
}  // namespace menura
