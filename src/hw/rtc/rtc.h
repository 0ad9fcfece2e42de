// Rtc: the MC146818A real-time clock with 128 bytes of CMOS memory, at ports 70h and 71h.
//
// Owner: the board. Threads: under the machine lock. Source: Motorola MC146818A data sheet
// (ADI856R2); the century byte, the index port's NMI bit: PIIX3 data sheet §2.5.
// Deviations: the time base is always 32.768 kHz; daylight saving (DSE) is kept but does nothing;
// the day of the week follows from the date. Nothing ticks while nobody listens: flags are worked
// out when register C is read, and a timer is armed only for an enabled interrupt.
// Example:
//   Rtc rtc("rtc", {.clock = RtcClock::Host}, host_time, tape, IrqLine{gsi, 8});
//   io_root.map(0x70, rtc.ports());   rtc.set_cmos(0x0f, 0);
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "event/tape.h"
#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/rtc/calendar.h"
#include "memory/region.h"
#include "state/properties.h"

namespace menura {

// What moves the time. The TimerQueue must be the one of the same clock: of virtual time for
// Virtual, of the host's monotonic clock for the others.
enum class RtcClock : u8 {
  Host,       // the host's wall clock: follows its corrections
  Monotonic,  // starts from the wall clock and then runs evenly
  Virtual,    // stops while the machine does
};

// What becomes of periodic interrupts that the guest did not take in time.
enum class RtcLostTicks : u8 {
  Discard,
  Slew,  // they are repeated, faster than the period, until the guest's count is right again
};
std::span<const std::string_view> enum_names(RtcLostTicks);

class Rtc final : public Device, public MmioHandler {
 public:
  struct Config {
    RtcClock clock = RtcClock::Host;
    // The time at the start, seconds since 1970; the host's wall clock if not given.
    std::optional<i64> date = {};
    i64 utc_offset_s = 0;  // added to it: the time zone for a guest that keeps local time
    RtcLostTicks lost_ticks = RtcLostTicks::Discard;
    // What -global sets; the rest is -rtc's.
    void describe(PropertyVisitor& p) {
      p.field("lost_tick_policy", lost_ticks, "what becomes of ticks the guest did not take");
    }
  };
  static constexpr u8 kCentury = 0x32;

  Rtc(std::string id, Config config, TimerQueue& time, Tape& tape, IrqLine irq);

  std::string_view type() const override { return "mc146818rtc"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

  u64 read(Access access) override;
  void write(Access access, u64 value) override;
  Region& ports() { return ports_; }  // 70h, 71h

  // The memory behind the clock's registers, for the board: index 0Eh-7Fh.
  u8 cmos(u8 index) const { return cmos_[index & 0x7f]; }
  void set_cmos(u8 index, u8 value);
  // Bit 7 of port 70h keeps NMIs from the CPU.
  bool nmi_masked() const { return index_ & 0x80; }
  // Seconds since 1970 as the guest has it.
  i64 guest_seconds() const;
  // Told, when the guest sets its clock, how many seconds it now is ahead of the start's reckoning.
  void on_time_set(std::function<void(i64 seconds)> notify) { time_set_ = std::move(notify); }
  u32 lost_ticks() const { return lost_ticks_; }

 private:
  i64 source_ns() const;
  // The divider chain: guest time but for whole seconds.
  i64 chain_ns() const { return source_ns() + offset_ns_; }
  i64 fraction_ns() const;  // of the present second
  void set_fraction(i64 ns);
  void see_all();
  bool held() const;  // the time stands: SET, or the divider in reset
  bool binary() const;
  u8 encode(int value) const;
  int decode(u8 value) const;  // -1: no number
  u8 encode_hour(int hour) const;
  int decode_hour(u8 value) const;
  // The time's registers from the running time, and back.
  void show_time();
  void take_time();
  void write_time_register(u8 index, u8 value);
  void write_a(u8 value);
  void write_b(u8 value);
  u8 read_register(u8 index);
  u8 read_c();
  bool updating() const;
  // Flags for all that happened since the last look.
  void catch_up();
  void count_ticks();
  i64 period_ticks() const;  // of the 32.768 kHz clock; 0: off
  // The first second after `after` that the alarm registers match; none: never.
  std::optional<i64> next_alarm(i64 after) const;
  void update_irq();
  void arm();
  void note_lost(i64 ticks);
  void arm_retry();
  void retry();

  // Configuration
  const Config config_;

  // Wiring
  TimerQueue& time_;
  Tape& tape_;
  IrqLine irq_;
  Timer event_;
  Timer retry_;
  std::function<void(i64)> time_set_;
  Region ports_;
  i64 base_offset_s_ = 0;  // offset_s_ as the board set it

  // State
  std::array<u8, 128> cmos_{};
  u8 index_ = 0;
  i64 offset_s_ = 0;     // guest time less source time, whole seconds
  i64 offset_ns_ = 0;    // and the rest, below a second
  i64 seen_second_ = 0;  // updates and alarms are noted up to this second
  i64 seen_tick_ = 0;    // periods up to this tick of the divider chain
  bool heard_ = false;   // the last interrupt was not masked on its way
  u32 lost_ticks_ = 0;
};

}  // namespace menura
