#include "control/monitor/monitor_output.h"

#include <chrono>
#include <thread>

namespace menura {

namespace {

using Clock = std::chrono::steady_clock;

// A client that has read nothing for this long at the end hears no more.
constexpr auto kPatience = std::chrono::seconds(2);

}  // namespace

void MonitorOutput::finish() {
  Clock::time_point last_progress = Clock::now();
  for (size_t before = unsent_.size(); before > 0; before = unsent_.size()) {
    flush();
    if (unsent_.size() < before) {
      last_progress = Clock::now();
    } else {
      if (Clock::now() - last_progress > kPatience) return;
      // The loop, which could tell when there is room again, runs no more.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

}  // namespace menura
