// Bridges, and PCI devices that have no family of their own.
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pcie_root_port.h"
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

struct RootPortConfig {
  PciPlace place;
  u8 port = 0;
  u8 chassis = 0;
  u16 slot = 0;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("port", port, "number of the port");
    p.field("chassis", chassis, "where the slot is; chassis and slot are nobody else's");
    p.field("slot", slot, "number of the slot, up to 8191");
  }
};

MadeDevice make_root_port(Machine& machine, const std::string& id, const Value& options) {
  constexpr u16 kLastSlot = 8191;
  RootPortConfig config;
  TRY(read_properties(config, options, "pcie-root-port"));
  if (config.slot > kLastSlot)
    return fail(Errc::OutOfRange, "pcie-root-port: slot={} is past {}", config.slot, kLastSlot);
  if (!machine.board().claim_slot(config.chassis, config.slot))
    return fail(Errc::Exists, "pcie-root-port: chassis {} has a slot {} already", config.chassis,
                config.slot);
  auto device = std::make_unique<PcieRootPort>(
      id, PciExpress::Port{.number = config.port, .slot = config.slot},
      [&machine](PciFunction& function) { machine.board().ejected(function); });
  TRY(plug_pci(machine, *device, config.place, "pcie-root-port"));
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
     .make = make_bridge,
     .has_buses = true},
    {.name = "pcie-root-port",
     .bus = "PCI",
     .category = "Controller/Bridge/Hub devices",
     .description = "PCI Express root port",
     .properties = properties_of<RootPortConfig>,
     .make = make_root_port,
     .has_buses = true},
};

}  // namespace

std::span<const DeviceKind> pci_device_kinds() { return kKinds; }

}  // namespace menura
