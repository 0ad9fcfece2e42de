// Watchdog timer of the Intel 6300ESB I/O controller hub.
//
// Owner: the machine. Threads: under the machine lock. Source: 6300ESB datasheet (300641), chapter
// 16. Two stages count down one after the other; the end of the second pulls WDT_TOUT#, which
// resets a real board: here it asks on_timeout what to do. Deviation: the interrupt that may tell
// of the end of the first stage is not wired; guests choose "none" (WDT_INT_TYPE = 3).
// Example: `I6300Esb watchdog("wdt0", time, [&] { machine.request_watchdog(); });`
#pragma once

#include <functional>

#include "event/timer.h"
#include "hw/pci/pci_function.h"

namespace menura {

class I6300Esb final : public PciFunction, public MmioHandler {
 public:
  I6300Esb(std::string id, TimerQueue& time, std::function<void()> on_timeout);

  std::string_view type() const override { return "i6300esb"; }
  u64 read(Access access) override;
  void write(Access access, u64 value) override;

 private:
  enum class Stage : u8 { First, Second };
  friend std::span<const std::string_view> enum_names(Stage);
  // The two writes that must come before each change of a register.
  enum class Unlock : u8 { Locked, OneOfTwo, Open };
  friend std::span<const std::string_view> enum_names(Unlock);

  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  void start(Stage stage);
  void expired();
  void write_reload(u16 value);
  bool enabled() const;
  bool free_running() const;

  // Wiring
  TimerQueue& time_;
  std::function<void()> on_timeout_;
  Region registers_;
  // State
  u32 preload_[2] = {};  // 20 bits each
  Unlock unlock_ = Unlock::Locked;
  Stage stage_ = Stage::First;
  bool stage_one_over_ = false;  // the general interrupt status
  bool timed_out_ = false;       // survives the reset that it causes
  u8 lock_ = 0;                  // the lock register as it last was
  Timer timer_;
};

}  // namespace menura
