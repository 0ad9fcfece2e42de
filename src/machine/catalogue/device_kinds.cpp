#include "machine/catalogue/device_kinds.h"

#include "base/text.h"
#include "base/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_function.h"
#include "machine/catalogue/catalogue_tables.h"

namespace menura {

namespace {

// "3", "3.0" or "0x3": slot and function, in hexadecimal.
Result<u8> parse_devfn(PciBus& bus, const std::string& addr) {
  if (addr.empty()) return PciBus::devfn(TRY(bus.free_slot()), 0);
  const size_t dot = addr.find('.');
  const auto number = [](std::string text) {
    return parse_u64(text.starts_with("0x") ? text : "0x" + text);
  };
  const u64 slot = TRY(number(addr.substr(0, dot)), "addr");
  const u64 function = dot == std::string::npos ? 0 : TRY(number(addr.substr(dot + 1)), "addr");
  if (slot >= PciBus::kSlots || function >= PciBus::kFunctions)
    return fail(Errc::OutOfRange, "addr={}: slots go to 1f, functions to 7", addr);
  return PciBus::devfn(static_cast<unsigned>(slot), static_cast<unsigned>(function));
}

PciBus* find_bus(PciBus& root, std::string_view name, std::vector<std::string_view>& names) {
  names.push_back(root.name());
  if (root.name() == name) return &root;
  for (PciFunction* function : root.functions())
    if (PciBus* below = function->secondary_bus())
      if (PciBus* found = find_bus(*below, name, names)) return found;
  return nullptr;
}

}  // namespace

std::span<const DeviceKind> device_kinds() {
  static const std::vector<DeviceKind> kAll = [] {
    std::vector<DeviceKind> all;
    for (const auto family :
         {display_device_kinds(), ide_device_kinds(), isa_device_kinds(), nic_device_kinds(),
          nvme_device_kinds(), pci_device_kinds(), sound_device_kinds(), testdev_device_kinds(),
          usb_device_kinds(), virtio_device_kinds()})
      all.insert(all.end(), family.begin(), family.end());
    return all;
  }();
  return kAll;
}

Result<void> claim_ports(Machine& machine, u16 base, Region& ports) {
  if (base + ports.last() > 0xffff)
    return fail(Errc::OutOfRange, "Ports {:#x} to {:#x} are beyond the last, 0xffff", base,
                base + ports.last());
  machine.io_root().map(base, ports, 1);
  return {};
}

void PciPlace::describe(PropertyVisitor& p) {
  p.field("bus", bus, "pci.0, or a bridge's id; the root bus");
  p.field("multifunction", multifunction, "say that the slot has more functions");
  p.field("addr", addr, "slot, or slot.function, in hexadecimal; the first free slot");
}

Result<void> plug_pci(Machine& machine, PciFunction& function, const PciPlace& place,
                      std::string_view kind) {
  PciBus* bus = machine.board().pci_bus();
  if (!bus) return fail(Errc::Unsupported, "{}: this machine has no PCI bus", kind);
  if (!place.bus.empty()) {
    std::vector<std::string_view> names;
    bus = find_bus(*bus, place.bus, names);
    if (!bus)
      return fail(Errc::NotFound, "{}: there is no PCI bus '{}'{}", kind, place.bus,
                  suggestion(place.bus, names));
  }
  if (machine.built() && !bus->hotplug())
    return fail(Errc::Unsupported,
                "{}: {} takes no cards while the machine runs; a pcie-root-port would, by bus=",
                kind, bus->name());
  if (place.multifunction) function.announce_functions();
  TRY(bus->add(function, TRY(parse_devfn(*bus, place.addr), "{}", kind)), "{}", kind);
  return {};
}

std::string firmware_path(const PciFunction& function, std::string_view kind) {
  std::string path = format("/{}@{:x}", kind, function.slot());
  if (function.function() != 0) path += format(",{:x}", function.function());
  const PciFunction* bridge = function.bus()->bridge();
  return (bridge ? firmware_path(*bridge, "pci-bridge") : "/pci@i0cf8") + path;
}

}  // namespace menura
