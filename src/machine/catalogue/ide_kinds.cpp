// AHCI controllers, and the drives on their ports and on IDE channels.
#include "base/text.h"
#include "hw/ide/ahci.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/drives.h"

namespace menura {

namespace {

struct IdeConfig {
  std::string drive;
  std::string bus;
  std::optional<u8> unit;
  std::string serial;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    p.required("drive", drive, "id of a -drive with if=none");
    p.field("bus", bus, "a cable or port: ide.0, ahci0.3; the first with room");
    p.field("unit", unit, "place on the bus; the first free");
    p.field("serial", serial, "serial number");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

struct Place {
  const IdeBus* bus;
  unsigned unit;
};

// The free place on a connector that bus= and unit= name.
Result<Place> ide_place(Machine& machine, const IdeConfig& config) {
  std::vector<std::string_view> names;
  for (const auto& [name, bus] : machine.board().ide_buses()) {
    names.push_back(name);
    if (!config.bus.empty() && config.bus != name) continue;
    for (unsigned unit = 0; unit < bus.connector->places(); unit++)
      if (!bus.connector->drive(unit) && config.unit.value_or(u8(unit)) == unit)
        return Place{&bus, unit};
    if (config.bus == name)
      return fail(Errc::Busy, "Bus '{}' has no free place{}", config.bus,
                  config.unit ? format(" {}", *config.unit) : "");
  }
  if (config.bus.empty())
    return fail(Errc::Busy, "There is no free place for a drive; -device ahci has six");
  return fail(Errc::NotFound, "There is no bus '{}'{}", config.bus, suggestion(config.bus, names));
}

template <class DriveKind>
MadeDevice make_ide(Machine& machine, const std::string& id, const Value& options) {
  IdeConfig config;
  TRY(read_properties(config, options, "IDE drive"));
  const Place place = TRY(ide_place(machine, config));
  Drive* drive = TRY(machine.drives().take(config.drive), "drive");
  auto device = std::make_unique<DriveKind>(id, *drive->disk, DriveNames{.serial = config.serial});
  place.bus->connector->plug(place.unit, *device);
  if (config.bootindex)
    TRY(machine.board().boot_order().add(*config.bootindex,
                                         format("{}/disk@{}", place.bus->boot_path, place.unit)));
  return std::unique_ptr<Device>(std::move(device));
}

MadeDevice make_ahci(Machine& machine, const std::string& id, const Value& options) {
  PciPlace place;
  TRY(read_properties(place, options, "ahci"));
  auto device = std::make_unique<Ahci>(id, id);
  TRY(plug_pci(machine, *device, place, "ahci"));
  const std::string path = firmware_path(*device, "pci8086,2922");
  for (unsigned n = 0; n < Ahci::kPorts; n++)
    machine.board().ide_buses()[format("{}.{}", id, n)] = {&device->port(n),
                                                           format("{}/drive@{}", path, n)};
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kKinds[] = {
    {.name = "ahci",
     .bus = "PCI",
     .category = "Storage devices",
     .description = "AHCI controller with six SATA ports",
     .properties = properties_of<PciPlace>,
     .make = make_ahci,
     .has_buses = true},
    {.name = "ide-cd",
     .bus = "IDE",
     .category = "Storage devices",
     .description = "ATAPI CD-ROM drive",
     .properties = properties_of<IdeConfig>,
     .make = make_ide<AtapiCd>},
    {.name = "ide-hd",
     .bus = "IDE",
     .category = "Storage devices",
     .description = "ATA hard disk",
     .properties = properties_of<IdeConfig>,
     .make = make_ide<AtaDisk>},
};

}  // namespace

std::span<const DeviceKind> ide_device_kinds() { return kKinds; }

}  // namespace menura
