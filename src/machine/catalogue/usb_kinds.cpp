// USB: host controllers and the devices on them.
#include "base/text.h"
#include "base/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/usb/uhci.h"
#include "hw/usb/usb_hid.h"
#include "machine/catalogue/device_kinds.h"

namespace menura {

namespace {

constexpr std::string_view kUhci = "piix3-usb-uhci";

MadeDevice make_uhci(Machine& machine, const std::string& id, const Value& options) {
  PciPlace place;
  TRY(read_properties(place, options, kUhci));
  auto device = std::make_unique<Uhci>(id, machine.loop().virtual_time());
  TRY(plug_pci(machine, *device, place, kUhci));
  return std::unique_ptr<Device>(std::move(device));
}

struct UsbPlace {
  std::string bus;   // "usb.0"; empty: the first with a free port
  std::string port;  // "1"
  void describe(PropertyVisitor& p) {
    p.field("bus", bus, "the USB bus: a controller's id and .0; the first with a free port");
    p.field("port", port, "its port, from 1; the first free");
  }
};

void find_buses(PciBus& pci, std::vector<UsbBus*>& buses) {
  for (PciFunction* function : pci.functions()) {
    if (function->type() == kUhci) buses.push_back(&static_cast<Uhci*>(function)->ports());
    if (PciBus* below = function->secondary_bus()) find_buses(*below, buses);
  }
}

Result<void> plug_usb(Machine& machine, UsbDevice& device, const UsbPlace& place) {
  std::vector<UsbBus*> buses;
  if (PciBus* pci = machine.board().pci_bus()) find_buses(*pci, buses);
  if (buses.empty())
    return fail(Errc::NotFound, "There is no USB bus (-usb or -device {} adds one)", kUhci);
  std::optional<unsigned> port;
  if (!place.port.empty()) {
    const u64 number = TRY(parse_u64(place.port), "port");
    if (number == 0 || number > 127)
      return fail(Errc::OutOfRange, "port={}: ports count from 1", place.port);
    port = static_cast<unsigned>(number - 1);
  }
  std::vector<std::string_view> names;
  for (UsbBus* bus : buses) {
    names.push_back(bus->name());
    if (!place.bus.empty() && bus->name() != place.bus) continue;
    Result<void> plugged = bus->plug(device, port);
    if (plugged || !place.bus.empty() || bus == buses.back()) return plugged;
  }
  return fail(Errc::NotFound, "There is no USB bus '{}'{}", place.bus,
              suggestion(place.bus, names));
}

template <UsbHid::Kind kind>
MadeDevice make_hid(Machine& machine, const std::string& id, const Value& options) {
  UsbPlace place;
  auto device = std::make_unique<UsbHid>(id, kind, machine.inputs());
  TRY(read_properties(place, options, device->type()));
  TRY(plug_usb(machine, *device, place), "{}", device->type());
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kKinds[] = {
    {.name = kUhci,
     .bus = "PCI",
     .category = "USB devices",
     .description = "USB 1.1 host controller of the PIIX3, two ports",
     .properties = properties_of<PciPlace>,
     .make = make_uhci},
    {.name = "usb-kbd",
     .bus = "usb-bus",
     .category = "USB devices",
     .description = "USB keyboard",
     .properties = properties_of<UsbPlace>,
     .make = make_hid<UsbHid::Kind::Keyboard>},
    {.name = "usb-mouse",
     .bus = "usb-bus",
     .category = "USB devices",
     .description = "USB mouse",
     .properties = properties_of<UsbPlace>,
     .make = make_hid<UsbHid::Kind::Mouse>},
    {.name = "usb-tablet",
     .bus = "usb-bus",
     .category = "USB devices",
     .description = "USB tablet: a pointer with places, not movements",
     .properties = properties_of<UsbPlace>,
     .make = make_hid<UsbHid::Kind::Tablet>},
};

}  // namespace

std::span<const DeviceKind> usb_device_kinds() { return kKinds; }

}  // namespace menura
