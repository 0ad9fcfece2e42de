// Lapic: one CPU's local APIC in user space: xAPIC registers, x2APIC MSRs, timer.
//
// Owner: the board, one per CPU. Threads: under the machine lock. Source: Intel SDM vol. 3 ch. 11
// (section numbers in the code are of edition 082, 2023), version register 14h, six LVT entries.
// The registers are not in the memory map: every CPU has its own at one address. A vCPU asks
// claims() first and else goes to the address space, where ApicBus::messages() lies (see there).
// Timer: 1 GHz before the divider, as KVM's. Periods under 10 us are stretched to that.
// Example:
//   Lapic lapic("lapic0", {.apic_id = 0, .bootstrap = true, .tsc_hz = hz}, bus, time);
//   lapic.connect(vcpu);   if (lapic.pending()) inject(lapic.acknowledge());
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/cpu_interrupts.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/intc/apic_bus.h"

namespace menura {

// 256 bits, one per vector, as IRR, ISR and TMR hold them.
struct VectorSet {
  std::array<u32, 8> words{};

  bool test(u8 vector) const { return (words[vector / 32] >> (vector % 32)) & 1; }
  void set(u8 vector) { words[vector / 32] |= 1u << (vector % 32); }
  void clear(u8 vector) { words[vector / 32] &= ~(1u << (vector % 32)); }
  int highest() const;  // -1: empty
  bool operator==(const VectorSet&) const = default;
};

// Shared with the accelerators' own chips; register values are in the xAPIC layout except id.
struct LapicState {
  enum Lvt : u8 { kTimer, kThermal, kPerformance, kLint0, kLint1, kError, kLvts };
  static constexpr u64 kBaseBootstrap = u64{1} << 8;  // of IA32_APIC_BASE
  static constexpr u64 kBaseX2apic = u64{1} << 10;
  static constexpr u64 kBaseEnabled = u64{1} << 11;

  u64 apic_base = 0;
  u32 id = 0;  // the whole ID (the xAPIC register holds bits 7:0 in its top byte)
  u32 tpr = 0;
  u32 ldr = 0;
  u32 dfr = 0;
  u32 svr = 0;
  u32 esr = 0;
  u32 errors = 0;  // since the last write of ESR
  u64 icr = 0;     // bits 63:32: the destination as that mode writes it
  std::array<u32, kLvts> lvt{};
  VectorSet isr, tmr, irr;
  u32 timer_initial = 0;
  u32 timer_divide = 0;      // the divide configuration register
  i64 timer_start_ns = 0;    // virtual time when the present count began at timer_initial
  bool timer_fired = false;  // a one-shot count has ended
  u64 tsc_deadline = 0;      // 0: not armed
  u32 lint_levels = 0;       // bit 0: LINT0, bit 1: LINT1
  bool extint = false;       // an ExtINT message awaits its INTA

  void describe(StateVisitor& v);
  bool enabled() const { return apic_base & kBaseEnabled; }
  bool x2apic() const { return enabled() && (apic_base & kBaseX2apic); }
  enum class TimerMode : u8 { OneShot, Periodic, TscDeadline, Reserved };
  TimerMode timer_mode() const { return static_cast<TimerMode>((lvt[kTimer] >> 17) & 3); }
  i64 timer_divisor() const;  // 1 to 128
  i64 timer_period_ns() const { return timer_initial * timer_divisor(); }
  // The current count register at a virtual time (0 in TSC-deadline mode).
  u32 timer_current(i64 now_ns) const;
};

class Lapic final : public Device, public LocalApic {
 public:
  struct Config {
    u32 apic_id = 0;
    bool bootstrap = false;
    bool x2apic = true;      // whether the CPU has it
    u64 physical_bits = 40;  // of addresses: APIC_BASE's reserved bits
    u64 tsc_hz = 1'000'000'000;
  };
  Lapic(std::string id, Config config, ApicBus& bus, TimerQueue& time);
  ~Lapic() override;
  // Before the first reset.
  void connect(CpuInterrupts& cpu) { cpu_ = &cpu; }

  std::string_view type() const override { return "apic"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  // Towards the CPU: see hw/core/cpu_interrupts.h.
  bool pending() const override;
  int acknowledge() override;
  bool claims(GuestAddr address) const override;
  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  bool read_msr(u32 index, u64& value) override;
  bool write_msr(u32 index, u64 value) override;
  u8 cr8() const override { return static_cast<u8>(state_.tpr >> 4); }
  void set_cr8(u8 value) override;
  void set_tsc(u64 now) override;

  // Towards the bus.
  u32 apic_id() const { return state_.id; }
  bool matches(const ApicMessage& message) const;
  IrqStatus accept(const ApicMessage& message);
  // The arbitration priority (§11.6.2.4); lower takes lowest-priority messages first.
  u8 arbitration_priority() const;
  // Whether it already has this vector and focus checking is on.
  bool is_focus(u8 vector) const;
  void set_lint(unsigned pin, bool level);

  // Hardware and software enable.
  bool software_enabled() const { return state_.enabled() && (state_.svr & 0x100); }

  const LapicState& state() const { return state_; }
  u8 processor_priority() const;

 private:
  // Registers by number: the xAPIC offset over 10h, the x2APIC MSR less 800h.
  u32 read_register(unsigned reg) const;
  void write_register(unsigned reg, u32 value);
  void write_svr(u32 value);
  void write_lvt(LapicState::Lvt lvt, u32 value);
  void write_icr(u64 value);
  void write_timer_divide(u32 value);
  bool read_x2apic(unsigned reg, u64& value) const;
  bool write_x2apic(unsigned reg, u64 value);
  bool write_apic_base(u64 value);
  void write_tsc_deadline(u64 value);
  void end_of_interrupt();
  IrqStatus request(u8 vector, bool level_triggered);
  IrqStatus deliver_lvt(LapicState::Lvt lvt);
  void note_error(u32 esr_bit);
  void reset_registers();
  bool extint_asked() const;
  // The vector that may be delivered now, -1: none.
  int deliverable() const;
  // Tells the CPU whether something is pending.
  void update();
  void arm_timer();
  void on_timer();
  u64 tsc_at(i64 ns) const;
  i64 ns_of_tsc(u64 tsc) const;

  // Configuration
  const Config config_;

  // Wiring
  ApicBus& bus_;
  TimerQueue& time_;
  CpuInterrupts* cpu_ = nullptr;
  Timer timer_;

  u64 tsc_offset_ = 0;  // the CPU's TSC less virtual time at its frequency
  bool intr_ = false;   // as the CPU was told

  // State
  LapicState state_;
};

}  // namespace menura
