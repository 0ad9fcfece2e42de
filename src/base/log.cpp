#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>

#include "base/types.h"

namespace menura {

namespace {

constexpr std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::Debug: return "debug";
    case LogLevel::Info: return "info";
    case LogLevel::Warning: return "warning";
    case LogLevel::Error: return "error";
  }
  return "";
}

// The log is the one process-wide service: a library deep inside has nothing else to hold on to.
struct Log {
  std::atomic<LogLevel> level{LogLevel::Info};
  std::atomic<bool> guest_errors{false};
  std::mutex mutex;
  std::function<void(LogLevel, std::string_view)> sink;
  // Guest errors: at most kGuestErrorBurst lines in any second.
  std::chrono::steady_clock::time_point second{};
  unsigned in_second = 0;
  u64 not_shown = 0;
};

constexpr unsigned kGuestErrorBurst = 100;

Log& the_log() {
  static Log log;
  return log;
}

}  // namespace

void set_log_level(LogLevel level) { the_log().level = level; }

bool log_enabled(LogLevel level) {
  return level >= the_log().level.load(std::memory_order_relaxed);
}

void set_log_sink(std::function<void(LogLevel, std::string_view)> sink) {
  const std::lock_guard guard(the_log().mutex);
  the_log().sink = std::move(sink);
}

void log_line(LogLevel level, std::string_view text) {
  Log& log = the_log();
  const std::lock_guard guard(log.mutex);
  if (log.sink) return log.sink(level, text);
  std::string line = "menura: ";
  if (level != LogLevel::Info) line.append(name_of(level)).append(": ");
  line.append(text).append("\n");
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

void enable_guest_errors(bool on) { the_log().guest_errors = on; }

bool guest_errors_enabled() { return the_log().guest_errors.load(std::memory_order_relaxed); }

void guest_error_line(std::string_view device, std::string_view text) {
  Log& log = the_log();
  u64 not_shown = 0;
  {
    const std::lock_guard guard(log.mutex);
    const auto now = std::chrono::steady_clock::now();
    if (now - log.second >= std::chrono::seconds(1)) {
      log.second = now;
      log.in_second = 0;
      not_shown = std::exchange(log.not_shown, 0);
    }
    if (++log.in_second > kGuestErrorBurst) {
      log.not_shown++;
      return;
    }
  }
  if (not_shown > 0)
    log_line(LogLevel::Info, format("guest errors: {} more were not shown", not_shown));
  log_line(LogLevel::Info, std::string("guest error: ").append(device).append(": ").append(text));
}

}  // namespace menura
