// The families of devices that -device adds: a file each, with a config struct, a maker and a row per
// device. What the makers share stands here.
//
// Owner: machine/catalogue (constant tables). Threads: under the machine lock.
// Example: `TRY(plug_pci(machine, *card, config.place, "pci-bridge"));`
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "hw/core/device.h"
#include "machine/catalogue.h"
#include "machine/machine.h"
#include "state/properties.h"

namespace menura {

class PciFunction;

std::span<const DeviceKind> display_device_kinds();
std::span<const DeviceKind> ide_device_kinds();
std::span<const DeviceKind> isa_device_kinds();
std::span<const DeviceKind> nic_device_kinds();
std::span<const DeviceKind> nvme_device_kinds();
std::span<const DeviceKind> pci_device_kinds();
std::span<const DeviceKind> sound_device_kinds();
std::span<const DeviceKind> testdev_device_kinds();
std::span<const DeviceKind> usb_device_kinds();
std::span<const DeviceKind> virtio_device_kinds();

using MadeDevice = Result<std::unique_ptr<Device>>;

// Maps an ISA device's ports over what the board has there. OutOfRange beyond the last port.
Result<void> claim_ports(Machine& machine, u16 base, Region& ports);

// The properties of every PCI device: where it is plugged.
struct PciPlace {
  std::string bus;   // "pci.0" or a bridge's id; empty: the root
  std::string addr;  // "3", "3.1": slot and function in hexadecimal; empty: the first free slot
  bool multifunction = false;
  void describe(PropertyVisitor& p);
};

// Plugs a function where the user wants it; while the machine is there already, only into a slot that
// takes cards then. Errors begin with the kind.
Result<void> plug_pci(Machine& machine, PciFunction& function, const PciPlace& place,
                      std::string_view kind);

// A plugged function as firmware names it in its boot order: "/pci@i0cf8/scsi@4"; kind is its Open
// Firmware name.
std::string firmware_path(const PciFunction& function, std::string_view kind);

}  // namespace menura
