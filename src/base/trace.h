// Trace events: named points in the code that cost one relaxed load while they are off.
//
// Owner: base. Threads: any. An event is defined once, at namespace scope of a .cpp, and found by
// name through a linker section of pointers (a section of structs would be over-aligned by GCC).
// Example: `TRACE_EVENT(kPitLoad, "pit.load", "counter {} value {:#x}");  trace(kPitLoad, n, v);`
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string_view>

#include "base/format.h"

namespace menura {

struct TraceEvent {
  std::string_view name;     // "room.event": lower case, dots and underscores
  std::string_view pattern;  // of the arguments, in fmt's grammar
  std::atomic<bool> on{false};
};

// Every event linked into this program.
std::span<TraceEvent* const> trace_events();

// Switches events whose name matches the glob; the number matched.
size_t enable_trace(std::string_view glob, bool on = true);

// Where the lines go; stderr at first. Set before threads start.
void set_trace_sink(std::function<void(const TraceEvent&, std::string_view text)> sink);
void trace_line(const TraceEvent& event, std::string_view text);

template <class... Args>
void trace(const TraceEvent& event, const Args&... args) {
  if (event.on.load(std::memory_order_relaxed)) [[unlikely]]
    trace_line(event, fmt::vformat(fmt::string_view(event.pattern.data(), event.pattern.size()),
                                   fmt::make_format_args(args...)));
}

}  // namespace menura

#define TRACE_EVENT(variable, event_name, event_pattern)                     \
  static constinit ::menura::TraceEvent variable{event_name, event_pattern}; \
  [[gnu::section("menura_trace"),                                            \
    gnu::used]] static ::menura::TraceEvent* const variable##Pointer = &variable
