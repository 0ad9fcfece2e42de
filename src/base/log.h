// The log for operators: few lines, four levels; and guest mistakes, off by default.
//
// Owner: base. Threads: any (each line is one write). The sink is stderr unless set_log_sink().
// Example: `log_warning("kvm: MSR {:#x} refused, left at its default", index);`
#pragma once

#include <functional>
#include <string_view>

#include "base/format.h"

namespace menura {

enum class LogLevel { Debug, Info, Warning, Error };

// Lines below the level are dropped. Set at start-up, before threads.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view text);

// Replaces stderr; an empty function restores it. For tests and the program's -D option.
void set_log_sink(std::function<void(LogLevel, std::string_view)> sink);

template <class... Args>
void log_debug(fmt::format_string<Args...> pattern, Args&&... args) {
  if (log_enabled(LogLevel::Debug))
    log_line(LogLevel::Debug, fmt::vformat(pattern, fmt::make_format_args(args...)));
}
template <class... Args>
void log_info(fmt::format_string<Args...> pattern, Args&&... args) {
  if (log_enabled(LogLevel::Info))
    log_line(LogLevel::Info, fmt::vformat(pattern, fmt::make_format_args(args...)));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> pattern, Args&&... args) {
  if (log_enabled(LogLevel::Warning))
    log_line(LogLevel::Warning, fmt::vformat(pattern, fmt::make_format_args(args...)));
}
template <class... Args>
void log_error(fmt::format_string<Args...> pattern, Args&&... args) {
  log_line(LogLevel::Error, fmt::vformat(pattern, fmt::make_format_args(args...)));
}

// What a guest did wrong to a device. Off until enabled (-d guest_errors), and rate-limited, so a
// guest cannot fill the disk.
void enable_guest_errors(bool on);
bool guest_errors_enabled();
void guest_error_line(std::string_view device, std::string_view text);
template <class... Args>
void guest_error(std::string_view device, fmt::format_string<Args...> pattern, Args&&... args) {
  if (guest_errors_enabled())
    guest_error_line(device, fmt::vformat(pattern, fmt::make_format_args(args...)));
}

}  // namespace menura
