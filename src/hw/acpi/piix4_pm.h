// Piix4Pm: the 82371AB PIIX4's function 3, 8086:7113: ACPI power management and SMBus.
//
// Owner: the board (device 1 function 3, next to the PIIX3). Threads: under the machine lock. Source:
// Intel 82371AB data sheet 290562 §7; ACPI 6.4 §4.8. Ports at PMBASE (64, when PMREGMISC enables them),
// at SMBBA (16, when SMBHSTCFG and the command register do) and B2h/B3h (APM). Example:
//   Piix4Pm pm("piix4_pm", {.time = time, .sci = irq9, .on_sleep = [&](SleepState s) { ... }}, {});
//   pmc.root_bus().add(pm, PciBus::devfn(1, 3)).value();   io.map(0xb2, pm.apm_ports());
//
// A write to APMC does what PC firmware leaves to the chip: F1h sets SCI_EN, F0h clears it. With SMM
// (`smi` is wired) it also raises SMI# when APMC_EN and SMI_EN say so. Without SMM, SCI_EN is always set
// (ACPI 6.4 §5.2.9: a FADT without SMI_CMD) and DEVACTB's APMC_EN reads one from reset on: firmware
// takes that as "SMM is set up already" and leaves it alone.
// Deviations: SLPBTN (bit 9 of PM1) as in ACPI, the chip has no such pin; SUS_TYP 2 is S4, as PC
// firmware's tables have it; the BIOS's global lock, device activity monitors, throttling, RTC alarm
// and general purpose pins are absent.
#pragma once

#include <functional>

#include "hw/acpi/pm_timer.h"
#include "hw/acpi/smbus_host.h"
#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "state/properties.h"

namespace menura {

enum class SleepState : u8 { S3, S4, S5 };
enum class WakeReason : u8 { Other, PowerButton, SleepButton, Rtc };

struct Piix4PmConfig {
  bool disable_s3 = false;
  bool disable_s4 = false;
  void describe(PropertyVisitor& p) {
    p.field("disable_s3", disable_s3, "the guest cannot suspend to RAM");
    p.field("disable_s4", disable_s4, "the guest cannot suspend to disk");
  }
};

struct Piix4PmWiring {
  TimerQueue& time;
  IrqLine sci;  // level, active high: ISA interrupt 9; SMBus shares it
  // The guest asks to sleep. Asynchronous: its write completes first.
  std::function<void(SleepState)> on_sleep;
  std::function<void()> smi = {};  // null: no SMM
};

enum class PmReg : u8 { PmSts, PmEn, PmCntrl, PmTmr, GpSts, GpEn, GlbSts, GlbCtl, kCount };

class Piix4Pm final : public PciFunction {
 public:
  static constexpr unsigned kSciIrq = 9;
  static constexpr u8 kAcpiEnable = 0xf1;  // the FADT's ACPI_ENABLE, written to APMC
  static constexpr u8 kAcpiDisable = 0xf0;

  Piix4Pm(std::string id, Piix4PmWiring wiring, const Piix4PmConfig& config,
          Device* parent = nullptr);
  std::string_view type() const override { return "PIIX4_PM"; }

  // APMC and APMS, for B2h.
  Region& apm_ports() { return apm_region_; }
  SmbusHost& smbus() { return smbus_; }

  const Piix4PmConfig& sleep_states() const { return chip_config_; }
  // Where PMBASE puts the registers; 0: they do not answer.
  u16 pm_base() const;
  // The guest lets the clock's alarm end a sleep (RTC_EN).
  bool rtc_wakes() const;

  void press_power_button();
  void press_sleep_button();
  // After the reset that ends S3: what the firmware and the guest find in PMSTS.
  void woken(WakeReason reason);
  // A general purpose event: a bit of GPSTS (0 or 8 to 11).
  void raise_gpe(unsigned number);
  bool sci_enabled() const;

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  u64 read_pm(Access access);
  void write_pm(Access access, u64 value);
  void written(PmReg reg, u64 value, u64 mask);
  void write_control(u64 value, u64 mask);
  u64 read_smbus(Access access) { return smbus_.read(access); }
  void write_smbus(Access access, u64 value) { smbus_.write(access, value); }
  u64 read_apm(Access access);
  void write_apm(Access access, u64 value);
  void apmc_written(u8 value);
  void set_acpi_mode(bool on);

  u16 pm_status() const;
  void set_pm_status(u16 bits);
  bool smbus_on_irq9() const;
  bool sci_level() const;
  void update_sci();
  void place(Region& region, std::optional<u64> at);
  void update_ports();

  // Configuration
  Piix4PmConfig chip_config_;

  // Wiring
  Piix4PmWiring wiring_;
  Window<Piix4Pm> pm_window_{*this, &Piix4Pm::read_pm, &Piix4Pm::write_pm};
  Window<Piix4Pm> smbus_window_{*this, &Piix4Pm::read_smbus, &Piix4Pm::write_smbus};
  Window<Piix4Pm> apm_window_{*this, &Piix4Pm::read_apm, &Piix4Pm::write_apm};
  Region pm_region_;
  Region smbus_region_;
  Region apm_region_;

  // State
  RegisterFile<PmReg, static_cast<size_t>(PmReg::kCount)> regs_;
  PmTimer timer_;
  SmbusHost smbus_;
  u8 apmc_ = 0;
  u8 apms_ = 0;
};

}  // namespace menura
