// Bridges, and PCI devices that have no family of their own.
#include "hw/pci/pci_bridge.h"
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

constexpr DeviceKind kKinds[] = {
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
