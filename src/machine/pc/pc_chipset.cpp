#include "machine/pc/pc_chipset.h"

#include "hw/pci/pci_function.h"
#include "hw/pci/pci_regs.h"

namespace menura {

HostBridgeWiring host_bridge_wiring(const PcChipsetParts& parts) {
  Machine& machine = parts.machine;
  return {.memory = machine.memory(),
          .io = machine.io(),
          .system_memory = machine.memory_root(),
          .pci_memory = parts.memory.pci_memory(),
          .io_window = machine.io_root(),
          .ram = parts.memory.ram().parts().front().block,
          .msi = &parts.interrupts.msi(),
          .smm = parts.smi ? &machine.smm_root() : nullptr};
}

Result<SleepConfig> sleep_config(Machine& machine, std::string_view driver) {
  SleepConfig config;
  TRY(read_properties(config, machine.config().with_globals(driver), driver));
  return config;
}

void tell_interrupt_lines(PciBus& bus) {
  for (PciFunction* function : bus.functions()) {
    if (function->interrupt_pin() == IntxPin::None) continue;
    const unsigned pin = static_cast<unsigned>(function->interrupt_pin()) - 1;
    const unsigned pirq = bus.root_pin(function->slot(), pin);
    function->config_write(pci::kInterruptLine, 1, kPirqIrqs[pirq % std::size(kPirqIrqs)]);
  }
}

}  // namespace menura
