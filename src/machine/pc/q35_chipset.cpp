// The chipset of a PC of 2009: Q35 host bridge with ECAM, ICH9 with LPC bridge, AHCI and SMBus.
#include "hw/acpi/ich9_lpc.h"
#include "hw/acpi/ich9_smbus.h"
#include "hw/ide/ahci.h"
#include "hw/pci/q35_mch.h"
#include "machine/pc/pc_chipset.h"

namespace menura {

namespace {

constexpr unsigned kIch9Slot = 31;
constexpr unsigned kLpc = 0, kSata = 2, kSmbus = 3;
constexpr u8 kFirstPirqGsi = 16;
constexpr u16 kPmBase = 0x600;  // as firmware for virtual machines puts it
// Where ECAM is until firmware says otherwise: below it there is RAM, above it PCI's memory.
constexpr u64 kEcamBase = 0xb000'0000, kEcamSize = 256 * MiB;

class Q35Chipset final : public PcChipset {
 public:
  Result<void> build(const PcChipsetParts& parts);
  PciBus& root_bus() override { return mch_->root_bus(); }
  Pm1Block& pm1() override { return lpc_->pm1(); }
  void prepare() override;
  void describe(AcpiConfig& acpi) const override;

 private:
  Result<void> build_lpc(const PcChipsetParts& parts);

  // Wiring
  Q35Mch* mch_ = nullptr;
  Ich9Lpc* lpc_ = nullptr;
};

Result<void> Q35Chipset::build(const PcChipsetParts& parts) {
  Machine& machine = parts.machine;
  mch_ = &adopt_chip(
      parts, std::make_unique<Q35Mch>("mch", Q35MchWiring{.host = host_bridge_wiring(parts),
                                                          .all_ram = parts.memory.ram_region(),
                                                          .low_ram = parts.memory.below_4g()}));
  machine.io_root().map(0xcf8, mch_->config_ports());
  TRY(build_lpc(parts));

  Ahci& ahci = adopt_chip(parts, std::make_unique<Ahci>("ahci", "ide"));
  root_bus().add(ahci, PciBus::devfn(kIch9Slot, kSata)).value();
  for (unsigned n = 0; n < Ahci::kPorts; n++)
    machine.board().ide_buses()[format("ide.{}", n)] = {
        &ahci.port(n), format("/pci@i0cf8/pci8086,2922@1f,2/drive@{}", n)};

  Ich9Smbus& smbus = adopt_chip(parts, std::make_unique<Ich9Smbus>("smbus"));
  root_bus().add(smbus, PciBus::devfn(kIch9Slot, kSmbus)).value();
  return {};
}

Result<void> Q35Chipset::build_lpc(const PcChipsetParts& parts) {
  Machine& machine = parts.machine;
  Ich9LpcWiring wiring{.time = machine.loop().virtual_time(),
                       .isa_irqs = parts.interrupts.pirq_targets(),
                       .gsis = {},
                       .sci = parts.interrupts.isa(Ich9Lpc::kSciIrq),
                       .on_sleep = parts.on_sleep,
                       .smi = parts.smi,
                       .request_reset = [&machine](ResetControl::Kind) {
                         machine.request_reset(Cause::GuestReset);
                       }};
  for (unsigned pirq = 0; pirq < Ich9Lpc::kPirqs; pirq++)
    wiring.gsis[pirq] = IrqLine(parts.interrupts.gsis(), kFirstPirqGsi + pirq);
  lpc_ = &adopt_chip(parts, std::make_unique<Ich9Lpc>("ich9-lpc", std::move(wiring),
                                                      TRY(sleep_config(machine, "ICH9-LPC"))));
  root_bus().add(*lpc_, PciBus::devfn(kIch9Slot, kLpc)).value();
  machine.io_root().map(0xb2, lpc_->apm_ports());
  mch_->set_pirqs(*lpc_);
  mch_->set_reset_control(lpc_->reset_control());
  return {};
}

// RAM in the ROM area, ECAM, interrupt routes, the ports of power management.
void Q35Chipset::prepare() {
  enum : unsigned { kPam0 = 0x90, kPciexbar = 0x60, kPirqRout = 0x60, kPirqRoutHigh = 0x68 };
  enum : unsigned { kPmbase = 0x40, kAcpiCntl = 0x44 };
  for (unsigned i = 0; i < 7; i++) mch_->config_write(kPam0 + i, 1, i == 0 ? 0x30 : 0x33);
  mch_->config_write(kPciexbar + 4, 4, 0);
  mch_->config_write(kPciexbar, 4, kEcamBase | 1u);
  for (unsigned n = 0; n < std::size(kPirqIrqs); n++) {
    lpc_->config_write(kPirqRout + n, 1, kPirqIrqs[n]);
    lpc_->config_write(kPirqRoutHigh + n, 1, kPirqIrqs[n]);
  }
  lpc_->config_write(kPmbase, 4, kPmBase | 1u);
  lpc_->config_write(kAcpiCntl, 1, 0x80);
  tell_interrupt_lines(root_bus());
}

void Q35Chipset::describe(AcpiConfig& acpi) const {
  const Q35Mch::Ecam ecam = mch_->ecam().value_or(Q35Mch::Ecam{kEcamBase, kEcamSize});
  acpi.chipset = AcpiChipset::Q35;
  acpi.ecam = {.base = ecam.base, .size = ecam.size};
  acpi.gpe0 = {.offset = 0x20, .length = 16};
  if (const u16 base = lpc_->pm_base()) acpi.pm_base = base;
}

Result<std::unique_ptr<PcChipset>> make_q35(const PcChipsetParts& parts) {
  auto chipset = std::make_unique<Q35Chipset>();
  TRY(chipset->build(parts));
  return std::unique_ptr<PcChipset>(std::move(chipset));
}

}  // namespace

// RAM ends where ECAM begins; with more, the hole begins at 2 GiB.
const PcModel kQ35Model{.product = "Standard PC (Q35 + ICH9, 2009)",
                        .ram = {.most_below_4g = kEcamBase, .below_4g_if_more = 2 * GiB},
                        .make_chipset = make_q35};

}  // namespace menura
