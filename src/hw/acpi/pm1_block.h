// Pm1Block: ACPI's fixed power management registers, as a PC's chips have them: PM1 status, enable
// and control, and the timer; and the APM command port that switches ACPI on.
//
// Owner: Piix4Pm and Ich9Lpc (a member). Threads: under the machine lock. Source: ACPI 6.4 §4.8.3;
// 82371AB data sheet 290562 §7, ICH9 data sheet 316972 §13.8. Example:
//   Pm1Block pm1_{{.time = time, .changed = [this] { update_sci(); }, .on_sleep = sleep}, config};
//   u64 value = pm1_.read({.offset = 0, .size = 2});   bool sci = pm1_.pending();
//
// A write to APMC does what PC firmware leaves to the chip: F1h sets SCI_EN, F0h clears it. Without
// SMM, SCI_EN is always set (ACPI 6.4 §5.2.9: a FADT without SMI_CMD).
// Deviations: SLPBTN (bit 9) as in ACPI, the chips have no such pin; the types of SLP_TYP are 0 for
// S5, 1 for S3 and 2 for S4 on both chips, as PC firmware's tables have it.
#pragma once

#include <functional>

#include "hw/acpi/pm_timer.h"
#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "memory/region.h"
#include "state/properties.h"

namespace menura {

enum class SleepState : u8 { S3, S4, S5 };
enum class WakeReason : u8 { Other, PowerButton, SleepButton, Rtc };

struct SleepConfig {
  bool disable_s3 = false;
  bool disable_s4 = false;
  void describe(PropertyVisitor& p) {
    p.field("disable_s3", disable_s3, "the guest cannot suspend to RAM");
    p.field("disable_s4", disable_s4, "the guest cannot suspend to disk");
  }
};

enum class Pm1Reg : u8 { PmSts, PmEn, PmCntrl, PmTmr, kCount };

class Pm1Block {
 public:
  static constexpr u8 kAcpiEnable = 0xf1;  // the FADT's ACPI_ENABLE, written to APMC
  static constexpr u8 kAcpiDisable = 0xf0;

  struct Wiring {
    TimerQueue& time;
    std::function<void()> changed;  // pending() may be different
    // The guest asks to sleep. Asynchronous: its write completes first.
    std::function<void(SleepState)> on_sleep;
    bool smm = false;
    // After each write to APMC: the chip may raise SMI#.
    std::function<void()> apm_written = {};
  };
  Pm1Block(Wiring wiring, const SleepConfig& config);

  // The chip's first 12 ports; others read zero and take nothing.
  u64 read(Access access);
  void write(Access access, u64 value);
  // APMC and APMS, for B2h.
  Region& apm_ports() { return apm_region_; }

  const SleepConfig& sleep_states() const { return config_; }
  bool sci_enabled() const;
  // An enabled event has come.
  bool pending() const;
  bool rtc_wakes() const;
  void press_power_button();
  void press_sleep_button();
  // After the reset that ends S3: what the firmware and the guest find in PMSTS.
  void woken(WakeReason reason);

  void reset();
  void describe(StateVisitor& v);
  Result<void> restored() { return timer_.restored(); }

 private:
  u16 status() const;
  void set_status(u16 bits);
  void written(Pm1Reg reg, u64 value, u64 mask);
  void write_control(u64 value, u64 mask);
  void set_acpi_mode(bool on);
  u64 read_apm(Access access) { return access.offset == 0 ? apmc_ : apms_; }
  void write_apm(Access access, u64 value);

  // Configuration
  const SleepConfig config_;

  // Wiring
  const Wiring wiring_;
  Window<Pm1Block> apm_window_{*this, &Pm1Block::read_apm, &Pm1Block::write_apm};
  Region apm_region_;

  // State
  RegisterFile<Pm1Reg, static_cast<size_t>(Pm1Reg::kCount)> regs_;
  PmTimer timer_;
  u8 apmc_ = 0;
  u8 apms_ = 0;
};

}  // namespace menura
