// Piix4Pm: the 82371AB PIIX4's function 3, 8086:7113: ACPI power management and SMBus.
//
// Owner: the board (device 1 function 3, next to the PIIX3). Threads: under the machine lock. Source:
// Intel 82371AB data sheet 290562 §7; ACPI 6.4 §4.8. Ports at PMBASE (64, when PMREGMISC enables them),
// at SMBBA (16, when SMBHSTCFG and the command register do) and B2h/B3h (APM). Example:
//   Piix4Pm pm("piix4_pm", {.time = time, .sci = irq9, .on_sleep = [&](SleepState s) { ... }}, {});
//   pmc.root_bus().add(pm, PciBus::devfn(1, 3)).value();   io.map(0xb2, pm.apm_ports());
//
// With SMM (`smi` is wired) a write to APMC raises SMI# when APMC_EN and SMI_EN say so. Without SMM
// DEVACTB's APMC_EN reads one from reset on: firmware takes that as "SMM is set up already" and
// leaves it alone.
// Deviations: the BIOS's global lock, device activity monitors, throttling, RTC alarm
// and general purpose pins are absent.
#pragma once

#include <functional>

#include "hw/acpi/pm1_block.h"
#include "hw/acpi/smbus_host.h"
#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"

namespace menura {

struct Piix4PmWiring {
  TimerQueue& time;
  IrqLine sci;  // level, active high: ISA interrupt 9; SMBus shares it
  // The guest asks to sleep. Asynchronous: its write completes first.
  std::function<void(SleepState)> on_sleep;
  std::function<void()> smi = {};  // null: no SMM
};

enum class PmReg : u8 { GpSts, GpEn, GlbSts, GlbCtl, kCount };

class Piix4Pm final : public PciFunction {
 public:
  static constexpr unsigned kSciIrq = 9;

  Piix4Pm(std::string id, Piix4PmWiring wiring, const SleepConfig& config,
          Device* parent = nullptr);
  std::string_view type() const override { return "PIIX4_PM"; }

  // APMC and APMS, for B2h.
  Region& apm_ports() { return pm1_.apm_ports(); }
  SmbusHost& smbus() { return smbus_; }

  // Where PMBASE puts the registers; 0: they do not answer.
  u16 pm_base() const;
  Pm1Block& pm1() { return pm1_; }
  const Pm1Block& pm1() const { return pm1_; }

  // A general purpose event: a bit of GPSTS (0 or 8 to 11).
  void raise_gpe(unsigned number);

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  u64 read_pm(Access access);
  void write_pm(Access access, u64 value);
  void written(PmReg reg, u64 value, u64 mask);
  u64 read_smbus(Access access) { return smbus_.read(access); }
  void write_smbus(Access access, u64 value) { smbus_.write(access, value); }
  void raise_smi();

  bool smbus_on_irq9() const;
  bool sci_level() const;
  void update_sci();
  void place(Region& region, std::optional<u64> at);
  void update_ports();

  // Wiring
  Piix4PmWiring wiring_;
  Window<Piix4Pm> pm_window_{*this, &Piix4Pm::read_pm, &Piix4Pm::write_pm};
  Window<Piix4Pm> smbus_window_{*this, &Piix4Pm::read_smbus, &Piix4Pm::write_smbus};
  Region pm_region_;
  Region smbus_region_;

  // State
  RegisterFile<PmReg, static_cast<size_t>(PmReg::kCount)> regs_;
  Pm1Block pm1_;
  SmbusHost smbus_;
};

}  // namespace menura
