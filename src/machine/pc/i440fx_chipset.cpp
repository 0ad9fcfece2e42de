// The chipset of a PC of 1996: 82441FX host bridge, PIIX3 with two IDE channels, PIIX4 power management.
#include "hw/acpi/pci_hotplug.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/ide/piix3_ide.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/piix3.h"
#include "machine/pc/pc_chipset.h"

namespace menura {

namespace {

constexpr unsigned kPiixSlot = 1;
constexpr unsigned kPiixIsa = 0, kPiixIde = 1, kPiixPm = 3;
constexpr u16 kPmBase = 0x600;  // as firmware for virtual machines puts it
constexpr u8 kSci = Piix4Pm::kSciIrq;

class I440fxChipset final : public PcChipset {
 public:
  Result<void> build(const PcChipsetParts& parts);
  PciBus& root_bus() override { return i440fx_->root_bus(); }
  Pm1Block& pm1() override { return pm_->pm1(); }
  void prepare() override;
  void describe(AcpiConfig& acpi) const override;

 private:
  // Wiring
  I440fx* i440fx_ = nullptr;
  Piix3* piix3_ = nullptr;
  Piix3Ide* ide_ = nullptr;
  Piix4Pm* pm_ = nullptr;
};

Result<void> I440fxChipset::build(const PcChipsetParts& parts) {
  Machine& machine = parts.machine;
  PcInterrupts& interrupts = parts.interrupts;
  i440fx_ = &adopt_chip(parts, std::make_unique<I440fx>("i440fx", host_bridge_wiring(parts)));
  machine.io_root().map(0xcf8, i440fx_->config_ports());

  piix3_ = &adopt_chip(
      parts, std::make_unique<Piix3>("piix3", interrupts.pirq_targets(), [&machine](Piix3::Reset) {
        machine.request_reset(Cause::GuestReset);
      }));
  root_bus().add(*piix3_, PciBus::devfn(kPiixSlot, kPiixIsa)).value();
  i440fx_->set_pirqs(*piix3_);
  i440fx_->set_reset_control(piix3_->reset_control());

  ide_ = &adopt_chip(
      parts, std::make_unique<Piix3Ide>("ide", std::array{interrupts.isa(14), interrupts.isa(15)},
                                        machine.io_root()));
  root_bus().add(*ide_, PciBus::devfn(kPiixSlot, kPiixIde)).value();
  for (unsigned n = 0; n < Piix3Ide::kChannels; n++)
    machine.board().ide_buses()[format("ide.{}", n)] = {&ide_->channel(n),
                                                        format("/pci@i0cf8/ide@1,1/drive@{}", n)};

  pm_ = &adopt_chip(parts,
                    std::make_unique<Piix4Pm>("piix4_pm",
                                              Piix4PmWiring{.time = machine.loop().virtual_time(),
                                                            .sci = interrupts.isa(kSci),
                                                            .on_sleep = parts.on_sleep,
                                                            .smi = parts.smi},
                                              TRY(sleep_config(machine, "PIIX4_PM"))));
  root_bus().add(*pm_, PciBus::devfn(kPiixSlot, kPiixPm)).value();
  machine.io_root().map(0xb2, pm_->apm_ports());

  if (machine.config().machine.acpi) {
    AcpiPciHotplug& hotplug = adopt_chip(
        parts, std::make_unique<AcpiPciHotplug>(
                   "acpi-pci-hotplug", root_bus(), [this] { pm_->raise_gpe(kPciHotplugEvent); },
                   parts.ejected, parts.removable));
    machine.io_root().map(AcpiPciHotplug::kPorts, hotplug.ports());
  }
  return {};
}

// RAM in the ROM area, ports of the IDE channels and power management, interrupt routes.
void I440fxChipset::prepare() {
  enum : unsigned { kPam0 = 0x59, kPirqrc = 0x60, kIdetim = 0x40, kBmiba = 0x20 };
  enum : unsigned { kPmba = 0x40, kPmRegMisc = 0x80 };
  for (unsigned i = 0; i < 7; i++) i440fx_->config_write(kPam0 + i, 1, i == 0 ? 0x30 : 0x33);
  for (unsigned pirq = 0; pirq < std::size(kPirqIrqs); pirq++)
    piix3_->config_write(kPirqrc + pirq, 1, kPirqIrqs[pirq]);
  ide_->config_write(kIdetim, 4, 0x8000'8000);
  ide_->config_write(kBmiba, 4, 0xc000);
  ide_->config_write(pci::kCommand, 2, pci::kCommandIo | pci::kCommandBusMaster);
  tell_interrupt_lines(root_bus());
  pm_->config_write(kPmba, 4, kPmBase | 1u);
  pm_->config_write(kPmRegMisc, 1, 1);
  pm_->config_write(pci::kInterruptLine, 1, kSci);
}

void I440fxChipset::describe(AcpiConfig& acpi) const {
  if (const u16 base = pm_->pm_base()) acpi.pm_base = base;
}

Result<std::unique_ptr<PcChipset>> make_i440fx(const PcChipsetParts& parts) {
  auto chipset = std::make_unique<I440fxChipset>();
  TRY(chipset->build(parts));
  return std::unique_ptr<PcChipset>(std::move(chipset));
}

}  // namespace

// With 3.5 GiB or more the hole begins at 3 GiB, so that both parts of the RAM are aligned to 1 GiB.
const PcModel kI440fxModel{.product = "Standard PC (i440FX + PIIX, 1996)",
                           .ram = {.most_below_4g = 0xe000'0000, .below_4g_if_more = 3 * GiB},
                           .make_chipset = make_i440fx};

}  // namespace menura
