#include "base/trace.h"

#include <unistd.h>

#include <mutex>
#include <string>

#include "base/text.h"

// Provided by the linker around the section; weak, because a program may have no event at all.
extern "C" [[gnu::weak]] menura::TraceEvent* const __start_menura_trace[];
extern "C" [[gnu::weak]] menura::TraceEvent* const __stop_menura_trace[];

namespace menura {

namespace {

struct TraceSink {
  std::mutex mutex;
  std::function<void(const TraceEvent&, std::string_view)> write;
};

TraceSink& the_sink() {
  static TraceSink sink;
  return sink;
}

}  // namespace

std::span<TraceEvent* const> trace_events() { return {__start_menura_trace, __stop_menura_trace}; }

size_t enable_trace(std::string_view glob, bool on) {
  size_t matched = 0;
  for (TraceEvent* event : trace_events()) {
    if (!glob_match(glob, event->name)) continue;
    event->on.store(on, std::memory_order_relaxed);
    matched++;
  }
  return matched;
}

void set_trace_sink(std::function<void(const TraceEvent&, std::string_view)> sink) {
  const std::lock_guard guard(the_sink().mutex);
  the_sink().write = std::move(sink);
}

void trace_line(const TraceEvent& event, std::string_view text) {
  TraceSink& sink = the_sink();
  const std::lock_guard guard(sink.mutex);
  if (sink.write) return sink.write(event, text);
  const std::string line = std::string(event.name).append(" ").append(text).append("\n");
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace menura
