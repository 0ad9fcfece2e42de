// Watchdog timer of the iBASE IB700 single-board computer: two write-only ports.
//
// Owner: the machine. Threads: under the machine lock. Source: IB700 user's manual, "Watchdog timer
// configuration": a write of 0 to F to port 443h starts it with 30, 28, ... 0 seconds; any write to
// 441h stops it. Its end resets a real board: here it asks on_timeout what to do.
// Example: `Ib700 watchdog("wdt0", time, [&] { machine.request_watchdog(); });`
#pragma once

#include <functional>

#include "event/timer.h"
#include "hw/core/device.h"
#include "memory/region.h"

namespace menura {

class Ib700 final : public Device, public MmioHandler {
 public:
  static constexpr u16 kBase = 0x441;

  Ib700(std::string id, TimerQueue& time, std::function<void()> on_timeout);

  std::string_view type() const override { return "ib700"; }
  // Ports 441h to 443h.
  Region& ports() { return ports_; }

  void reset(ResetKind) override { timer_.cancel(); }
  void describe(StateVisitor& v) override { v.field("timer", timer_); }
  u64 read(Access) override { return ~u64{0}; }
  void write(Access access, u64 value) override;

 private:
  // Wiring
  TimerQueue& time_;
  Region ports_;
  // State
  Timer timer_;
};

}  // namespace menura
