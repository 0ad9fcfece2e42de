// Hpet: the high precision event timer: a 64-bit counter of 10 ns and 3 to 32 comparators.
//
// Owner: the board. Threads: under the machine lock. Source: IA-PC HPET specification 1.0a.
// All comparators are 64 bits wide and can be periodic. The legacy interrupts pass through: the
// PIT's IRQ0 enters at pin 0 and the RTC's IRQ8 at pin 1, and while the HPET replaces them they
// stop here. Periods under 10 us are stretched to that. Matches of a periodic, edge-triggered
// comparator that a starved host comes to too late are delivered later, one by one, as the PIT's.
// Example:
//   Hpet hpet("hpet", {}, time, gsi, &bus);    memory_root.map(0xfed0'0000, hpet.registers());
//   Pit pit("pit", {}, time, {IrqLine{hpet, Hpet::kPitInput}, {}, {}});
#pragma once

#include <array>
#include <deque>

#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "hw/core/register_file.h"
#include "hw/timer/lost_ticks.h"
#include "memory/region.h"

namespace menura {

enum class HpetReg : u8 { Capabilities, Configuration, Status, Counter, kCount };
enum class HpetTimerReg : u8 { Configuration, Comparator, FsbRoute, kCount };

class Hpet final : public Device, public IrqSink, public MmioHandler {
 public:
  static constexpr unsigned kPitInput = 0;
  static constexpr unsigned kRtcInput = 1;
  static constexpr i64 kPeriodNs = 10;

  struct Config {
    unsigned timers = 3;
    // Which interrupts (GSIs 0-31, 2 being the IOAPIC's input) software may choose, as bits.
    u32 routes = 0x4;
    bool fsb = false;  // whether comparators can send messages
  };
  // gsi takes the interrupts by GSI. legacy_active, where wired, is high while IRQ0 and IRQ8 are
  // replaced: for a PIT that does not come through here.
  Hpet(std::string id, Config config, TimerQueue& time, IrqSink& gsi, MsiSink* msi = nullptr,
       IrqLine legacy_active = {});

  std::string_view type() const override { return "hpet"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  IrqStatus set_irq(unsigned input, bool level) override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& registers() { return registers_; }  // 1 KiB
  u64 counter() const;
  // The CPU has accepted IRQ0: an owed tick may follow.
  void tick_taken();

 private:
  struct Comparator {
    Comparator(Hpet& hpet, unsigned index);
    void describe(StateVisitor& v);
    u64 config() const { return regs.get(HpetTimerReg::Configuration); }
    bool narrow() const;  // compares 32 bits
    bool periodic() const;
    u64 mask() const;  // of the bits compared

    const unsigned index;
    Timer timer;
    RegisterFile<HpetTimerReg, 3> regs;
    u64 period = 0;  // what a periodic comparator adds to itself
    u32 owed = 0;
    LostTicks lost;
  };

  bool enabled() const;
  bool legacy() const;
  u64 read_timer(const Comparator& c, Access access) const;
  void write_timer(Comparator& c, Access access, u64 value);
  void write_timer_config(Comparator& c, u64 value, u64 mask);
  void write_comparator(Comparator& c, u64 value, u64 mask);
  void write_configuration(u64 value, u64 mask);
  void arm(Comparator& c);
  void arm_all();
  void matched(Comparator& c);
  IrqStatus send_edge(Comparator& c);
  i64 tick_period_ns(const Comparator& c) const;  // 0: not periodic
  // The GSI that a comparator drives.
  unsigned route(const Comparator& c) const;
  bool holds(const Comparator& c) const;  // asserts its level now
  bool wanted(unsigned gsi) const;
  void update_lines();

  // Configuration
  const Config config_;

  // Wiring
  TimerQueue& time_;
  MsiSink* msi_;
  IrqLine legacy_active_;
  std::array<IrqLine, 32> lines_;
  Region registers_;

  // State
  RegisterFile<HpetReg, 4> regs_;
  i64 counter_base_ = 0;  // the counter at virtual time zero while it runs
  std::array<bool, 2> inputs_{};
  std::deque<Comparator> comparators_;
};

}  // namespace menura
