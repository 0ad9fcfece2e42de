#include "hw/watchdog/ib700.h"

#include "base/units.h"

namespace menura {

namespace {
constexpr u64 kDisable = 0, kEnable = 2;  // of the ports
constexpr i64 kLongestSeconds = 30;
}  // namespace

Ib700::Ib700(std::string id, TimerQueue& time, std::function<void()> on_timeout)
    : Device(std::move(id)),
      time_(time),
      ports_(Region::mmio("ib700", 3, *this, {.handler_max = 1})),
      timer_(time, std::move(on_timeout)) {}

void Ib700::write(Access access, u64 value) {
  if (access.offset == kDisable) timer_.cancel();
  if (access.offset == kEnable)
    timer_.arm(time_.now_ns() +
               (kLongestSeconds - 2 * static_cast<i64>(value & 0xf)) * kNsPerSecond);
}

}  // namespace menura
