// Ich9Lpc: the 82801IB ICH9's LPC interface bridge, 8086:2918, device 31 function 0: the way to the
// ISA devices, PCI interrupt routing, ACPI power management, the reset control port.
//
// Owner: the board. Threads: under the machine lock. Source: Intel ICH9 data sheet 316972 §13. Ports at
// PMBASE (128, when ACPI_CNTL enables them), B2h/B3h (APM) and CF9h. Example:
//   Ich9Lpc lpc("ich9-lpc", {.time = time, .isa_irqs = irqs, .gsis = gsis, .sci = irq9, ...}, {});
//   mch.root_bus().add(lpc, PciBus::devfn(31, 0)).value();   mch.set_pirqs(lpc);
//
// PIRQA..PIRQH drive the IOAPIC's pins 16 to 23, and the 8259A's interrupt that their route register
// names. With SMM a write to APMC raises SMI# when APMC_EN and GBL_SMI_EN say so; without, APMC_EN reads
// one from reset on, by which firmware sees that SMM is not for it to set up.
// Deviations: SCI is always interrupt 9; the root complex registers (RCBA) do not answer: the devices'
// interrupt routes are fixed, and the watchdog timer (TCO) is absent; GPIO, decode ranges and DMA
// registers are storage; there are no general purpose events of the chip's own.
#pragma once

#include <array>
#include <functional>

#include "hw/acpi/pm1_block.h"
#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/reset_control.h"

namespace menura {

struct Ich9LpcWiring {
  TimerQueue& time;
  // isa_irqs[n] is raised while a PIRQ routed to ISA interrupt n is active; the board ORs it with the
  // ISA device's own.
  std::array<IrqLine, 16> isa_irqs;
  std::array<IrqLine, 8> gsis;  // 16 to 23, for PIRQA to PIRQH
  IrqLine sci;                  // level: ISA interrupt 9
  std::function<void(SleepState)> on_sleep;
  std::function<void()> smi = {};  // null: no SMM
  std::function<void(ResetControl::Kind)> request_reset = {};
};

enum class Ich9PmReg : u8 { Gpe0Sts, Gpe0En, SmiEn, SmiSts, kCount };

class Ich9Lpc final : public PciFunction, public IrqSink {
 public:
  static constexpr unsigned kPirqs = 8;
  static constexpr unsigned kSciIrq = 9;

  Ich9Lpc(std::string id, Ich9LpcWiring wiring, const SleepConfig& config,
          Device* parent = nullptr);
  std::string_view type() const override { return "ICH9-LPC"; }

  // PIRQA (pin 0) to PIRQH (7).
  IrqStatus set_irq(unsigned pin, bool level) override;
  // The ISA interrupt that a PIRQ is routed to, -1 when to none.
  int route(unsigned pirq) const;
  ResetControl& reset_control() { return rst_cnt_; }
  // APMC and APMS, for B2h.
  Region& apm_ports() { return pm1_.apm_ports(); }
  // Where PMBASE puts the registers; 0: they do not answer.
  u16 pm_base() const;
  Pm1Block& pm1() { return pm1_; }
  const Pm1Block& pm1() const { return pm1_; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  u64 read_pm(Access access);
  void write_pm(Access access, u64 value);
  void written(Ich9PmReg reg, u64 value, u64 mask);
  void raise_smi();
  bool sci_level() const;
  void update_sci();
  void update_ports();
  bool isa_level(unsigned irq) const;
  void drive_isa_irqs();

  // Wiring
  Ich9LpcWiring wiring_;
  Window<Ich9Lpc> pm_window_{*this, &Ich9Lpc::read_pm, &Ich9Lpc::write_pm};
  Region pm_region_;

  // State
  Pm1Block pm1_;
  RegisterFile<Ich9PmReg, static_cast<size_t>(Ich9PmReg::kCount)> regs_;
  ResetControl rst_cnt_;
  u8 pirq_levels_ = 0;
};

}  // namespace menura
