// PcChipset: what differs between a PC of 1996 (i440FX with PIIX3 and PIIX4) and one of 2009 (Q35 with
// ICH9): the host bridge, the ISA bridge with interrupt routing and power management, the controller
// of the board's own drives. All else of a PC is PcBoard's.
//
// Owner: PcBoard. Threads: under the machine lock. Example:
//   std::unique_ptr<PcChipset> chipset = TRY(model.make_chipset(parts));
//   chipset->root_bus().add(card, PciBus::devfn(3, 0)).value();
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "hw/acpi/pm1_block.h"
#include "hw/pci/host_root.h"
#include "machine/machine.h"
#include "machine/pc/pc_interrupts.h"
#include "machine/pc/pc_memory.h"
#include "machine/tables/acpi.h"

namespace menura {

// What a chipset is built from and into.
struct PcChipsetParts {
  Machine& machine;
  PcMemory& memory;
  PcInterrupts& interrupts;
  std::function<void(std::unique_ptr<Device>)>
      adopt;  // takes the chips, in the order of their making
  std::function<void(SleepState)> on_sleep;
  std::function<void()> smi;  // null: no SMM
  std::function<void(PciFunction&)> ejected;
  std::function<bool(PciFunction&)> removable;
};

class PcChipset {
 public:
  virtual ~PcChipset() = default;

  virtual PciBus& root_bus() = 0;
  virtual Pm1Block& pm1() = 0;
  // Leaves the chips' registers as firmware would, for a kernel that starts without any.
  virtual void prepare() = 0;
  // What the tables tell of it, as its registers are now.
  virtual void describe(AcpiConfig& acpi) const = 0;
};

// A row per kind of PC.
struct PcModel {
  std::string_view product;  // as SMBIOS names it
  PcRamLayout ram;
  Result<std::unique_ptr<PcChipset>> (*make_chipset)(const PcChipsetParts& parts);
};
extern const PcModel kI440fxModel;
extern const PcModel kQ35Model;

// For makers.
template <class Chip>
Chip& adopt_chip(const PcChipsetParts& parts, std::unique_ptr<Chip> chip) {
  Chip& reference = *chip;
  parts.adopt(std::move(chip));
  return reference;
}
HostBridgeWiring host_bridge_wiring(const PcChipsetParts& parts);
// Its disable_s3 and disable_s4, as -global says.
Result<SleepConfig> sleep_config(Machine& machine, std::string_view driver);
// PIRQA and PIRQB go to interrupt 10, PIRQC and PIRQD to 11, and so on in turn.
inline constexpr u8 kPirqIrqs[] = {10, 10, 11, 11};
// Each function's interrupt line register names what its pin is routed to.
void tell_interrupt_lines(PciBus& bus);

}  // namespace menura
