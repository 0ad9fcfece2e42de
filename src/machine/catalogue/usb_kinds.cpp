// USB: host controllers and the devices on them.
#include "base/text.h"
#include "base/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/usb/uhci.h"
#include "hw/usb/usb_hid.h"
#include "hw/usb/usb_hub.h"
#include "hw/usb/usb_storage.h"
#include "hw/usb/xhci.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/drives.h"

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

struct XhciProperties {
  PciPlace place;
  u32 p2 = 4, p3 = 4;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("p2", p2, "ports for devices of USB 2, 1 to 15");
    p.field("p3", p3, "ports for devices of USB 3: as many, or 0");
  }
};

template <XhciConfig::Model model>
MadeDevice make_xhci(Machine& machine, const std::string& id, const Value& options) {
  constexpr std::string_view kind = model == XhciConfig::Model::Nec ? "nec-usb-xhci" : "qemu-xhci";
  XhciProperties properties;
  TRY(read_properties(properties, options, kind));
  if (properties.p2 == 0 || properties.p2 > Xhci::kMostPorts)
    return fail(Errc::OutOfRange, "{}: p2 must be 1 to {}, not {}", kind, Xhci::kMostPorts,
                properties.p2);
  if (properties.p3 != 0 && properties.p3 != properties.p2)
    return fail(Errc::Unsupported, "{}: p3 must be 0 or as large as p2, not {}", kind,
                properties.p3);
  auto device = std::make_unique<Xhci>(
      id, machine.loop().virtual_time(),
      XhciConfig{.model = model, .ports = properties.p2, .usb3 = properties.p3 != 0});
  TRY(plug_pci(machine, *device, properties.place, kind));
  return std::unique_ptr<Device>(std::move(device));
}

struct UsbPlace {
  std::string bus;   // "usb.0"; empty: the first with a free port
  std::string port;  // "1"; behind hubs "1.2"
  void describe(PropertyVisitor& p) {
    p.field("bus", bus, "the USB bus: a controller's id and .0; the first with a free port");
    p.field("port", port, "its port, from 1, and behind hubs 1.2 or so; the first free");
  }
};

struct FoundBus {
  UsbBus* bus;
  PciFunction* controller;
};

void find_buses(PciBus& pci, std::vector<FoundBus>& buses) {
  for (PciFunction* function : pci.functions()) {
    if (function->type() == kUhci)
      buses.push_back({&static_cast<Uhci*>(function)->ports(), function});
    if (function->type() == "qemu-xhci" || function->type() == "nec-usb-xhci")
      buses.push_back({&static_cast<Xhci*>(function)->ports(), function});
    if (PciBus* below = function->secondary_bus()) find_buses(*below, buses);
  }
}

// "1.2": the hub's ports at port 1, and number 2 of them.
Result<void> plug_at(UsbBus& root, UsbDevice& device, std::string_view path) {
  if (path.empty()) return root.plug(device);
  UsbBus* bus = &root;
  for (std::string_view rest = path;;) {
    const size_t dot = rest.find('.');
    const u64 number = TRY(parse_u64(std::string(rest.substr(0, dot))), "port");
    if (number == 0 || number > bus->ports())
      return fail(Errc::OutOfRange, "port={}: {} has ports 1 to {}", path, bus->name(),
                  bus->ports());
    if (dot == std::string_view::npos) return bus->plug(device, static_cast<unsigned>(number - 1));
    UsbDevice* hub = bus->device(static_cast<unsigned>(number - 1));
    bus = hub ? hub->downstream() : nullptr;
    if (!bus) return fail(Errc::NotFound, "port={}: there is no hub at port {}", path, number);
    rest.remove_prefix(dot + 1);
  }
}

// The controller it was plugged into.
Result<PciFunction*> plug_usb(Machine& machine, UsbDevice& device, const UsbPlace& place) {
  std::vector<FoundBus> buses;
  if (PciBus* pci = machine.board().pci_bus()) find_buses(*pci, buses);
  if (buses.empty())
    return fail(Errc::NotFound, "There is no USB bus (-usb or -device qemu-xhci adds one)");
  std::vector<std::string_view> names;
  for (const auto& [bus, controller] : buses) {
    names.push_back(bus->name());
    if (!place.bus.empty() && bus->name() != place.bus) continue;
    Result<void> plugged = plug_at(*bus, device, place.port);
    if (plugged) return controller;
    if (!place.bus.empty() || bus == buses.back().bus) return plugged.error();
  }
  return fail(Errc::NotFound, "There is no USB bus '{}'{}", place.bus,
              suggestion(place.bus, names));
}

MadeDevice make_hub(Machine& machine, const std::string& id, const Value& options) {
  UsbPlace place;
  TRY(read_properties(place, options, "usb-hub"));
  auto device = std::make_unique<UsbHub>(id);
  TRY(plug_usb(machine, *device, place), "usb-hub");
  return std::unique_ptr<Device>(std::move(device));
}

struct StorageProperties {
  UsbPlace place;
  std::string drive;
  std::string serial;
  bool removable = false;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.required("drive", drive, "id of a -drive with if=none, or a node's name");
    p.field("serial", serial, "serial number");
    p.field("removable", removable, "whether it says that its medium can be taken out");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

// The port it has, from 1, as firmware counts.
unsigned port_of(const PciFunction& controller, const UsbDevice& device) {
  std::vector<FoundBus> buses;
  find_buses(*controller.bus(), buses);
  for (const FoundBus& found : buses)
    for (unsigned port = 0; port < found.bus->ports(); port++)
      if (found.bus->device(port) == &device) return port + 1;
  return 0;
}

MadeDevice make_storage(Machine& machine, const std::string& id, const Value& options) {
  StorageProperties properties;
  TRY(read_properties(properties, options, "usb-storage"));
  Drive* drive = TRY(machine.drives().take(properties.drive), "usb-storage: drive");
  std::string serial = properties.serial.empty() ? drive->options.serial : properties.serial;
  auto stick = std::make_unique<UsbStorage>(id, serial.empty() ? "1" : serial);
  const PciFunction* controller = TRY(plug_usb(machine, *stick, properties.place), "usb-storage");
  stick->set_drive(std::make_unique<ScsiDisk>(
      id + ".drive", *stick,
      ScsiDiskConfig{
          .serial = serial, .device_id = properties.drive, .removable = properties.removable},
      *drive->disk));
  if (properties.bootindex) {
    const unsigned port = port_of(*controller, *stick);
    if (port == 0)
      return fail(Errc::Unsupported, "usb-storage: firmware cannot be told of one behind a hub");
    TRY(machine.board().boot_order().add(
        *properties.bootindex,
        format("{}/storage@{}/channel@0/disk@0,0", firmware_path(*controller, "usb"), port)));
  }
  return std::unique_ptr<Device>(std::move(stick));
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
     .make = make_uhci,
     .has_buses = true},
    {.name = "qemu-xhci",
     .bus = "PCI",
     .category = "USB devices",
     .description = "USB 3 host controller",
     .properties = properties_of<XhciProperties>,
     .make = make_xhci<XhciConfig::Model::Qemu>,
     .has_buses = true},
    {.name = "nec-usb-xhci",
     .bus = "PCI",
     .category = "USB devices",
     .description = "USB 3 host controller, as NEC's uPD720200",
     .properties = properties_of<XhciProperties>,
     .make = make_xhci<XhciConfig::Model::Nec>,
     .has_buses = true},
    {.name = "usb-hub",
     .bus = "usb-bus",
     .category = "USB devices",
     .description = "USB 1.1 hub of eight ports",
     .properties = properties_of<UsbPlace>,
     .make = make_hub},
    {.name = "usb-storage",
     .bus = "usb-bus",
     .category = "Storage devices",
     .description = "USB drive: a memory stick",
     .properties = properties_of<StorageProperties>,
     .make = make_storage},
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
