// Bridges, and PCI devices that have no family of their own.
#include "hw/pci/pci_bridge.h"
#include "hw/watchdog/i6300esb.h"
#include "machine/catalogue/device_kinds.h"

namespace menura {

namespace {

MadeDevice make_bridge(Machine& machine, const std::string& id, const Value& options) {
  PciPlace place;
  TRY(read_properties(place, options, "pci-bridge"));
  auto device = std::make_unique<PciBridge>(id, id);
  TRY(plug_pci(machine, *device, place, "pci-bridge"));
  return std::unique_ptr<Device>(std::move(device));
}

MadeDevice make_i6300esb(Machine& machine, const std::string& id, const Value& options) {
  PciPlace place;
  TRY(read_properties(place, options, "i6300esb"));
  auto device = std::make_unique<I6300Esb>(id, machine.loop().virtual_time(),
                                           [&machine] { machine.request_watchdog(); });
  TRY(plug_pci(machine, *device, place, "i6300esb"));
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kKinds[] = {
    {.name = "i6300esb",
     .bus = "PCI",
     .category = "Watchdog devices",
     .description = "Intel 6300ESB watchdog timer",
     .properties = properties_of<PciPlace>,
     .make = make_i6300esb},
    {.name = "pci-bridge",
     .bus = "PCI",
     .category = "Controller/Bridge/Hub devices",
     .description = "PCI-to-PCI bridge",
     .properties = properties_of<PciPlace>,
     .make = make_bridge},
};

}  // namespace

std::span<const DeviceKind> pci_device_kinds() { return kKinds; }

}  // namespace menura
