// LostTicks: periodic interrupts that a guest could not take in time, and their return.
//
// Owner: a timer chip (a member). Threads: under the machine lock. A tick is lost when it finds the
// one before it still pending, or when a starved host comes to several at once. Under Delay the
// debt is paid one tick at a time: the next as soon as the CPU has taken the last, where the
// interrupt controller tells (taken()), else by trying a few times a period.
// Example:
//   LostTicks lost{LostTickPolicy::Delay, time, state.lost_ticks, [this] { return irq.pulse(); }};
//   lost.ticked(edges, irq.raise(), period_ns);
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "event/timer.h"
#include "hw/core/irq.h"

namespace menura {

enum class LostTickPolicy : u8 { Discard, Delay };
std::span<const std::string_view> enum_names(LostTickPolicy);

class LostTicks {
 public:
  // owed is the device's, which describes it; inject drives one tick.
  LostTicks(LostTickPolicy policy, TimerQueue& time, u32& owed, std::function<IrqStatus()> inject);

  // `due` ticks, period_ns apart, came at once; one of them was driven, with this fate.
  void ticked(i64 due, IrqStatus fate, i64 period_ns);
  // The CPU has accepted the interrupt: there is room for another.
  void taken();
  // The timer has a new program.
  void forget();
  // After a load: the count may be anything. period_ns 0: there are no ticks.
  void restored(i64 period_ns);

 private:
  void arm();

  // Configuration
  const LostTickPolicy policy_;

  // Wiring
  std::function<IrqStatus()> inject_;
  TimerQueue& time_;
  Timer retry_;

  // State
  u32& owed_;
  i64 period_ns_ = 0;  // of the last tick: derived from the device's
};

}  // namespace menura
