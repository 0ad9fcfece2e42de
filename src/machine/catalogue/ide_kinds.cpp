// Drives on the IDE channels.
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/ide/ide_channel.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/drives.h"

namespace menura {

namespace {

struct IdeConfig {
  std::string drive;
  std::string bus = "ide.0";
  std::optional<u8> unit;
  std::string serial;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    p.required("drive", drive, "id of a -drive with if=none");
    p.field("bus", bus, "ide.0 or ide.1");
    p.field("unit", unit, "place on the bus: 0 or 1; the first free");
    p.field("serial", serial, "serial number");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

// The connector that bus= and unit= name, if it is free.
Result<std::pair<IdeChannel*, unsigned>> ide_place(Machine& machine, const IdeConfig& config) {
  IdeChannel* channel = nullptr;
  if (config.bus == "ide.0" || config.bus == "ide.1")
    channel = machine.board().ide_channel(config.bus == "ide.1" ? 1 : 0);
  if (!channel) return fail(Errc::NotFound, "There is no bus '{}' (ide.0 or ide.1)", config.bus);
  for (unsigned unit = 0; unit < 2; unit++)
    if (!channel->drive(unit) && (!config.unit || *config.unit == unit))
      return std::pair{channel, unit};
  return fail(Errc::Busy, "Bus '{}' has no free place{}", config.bus,
              config.unit ? format(" {}", *config.unit) : "");
}

template <class DriveKind>
MadeDevice make_ide(Machine& machine, const std::string& id, const Value& options) {
  IdeConfig config;
  TRY(read_properties(config, options, "IDE drive"));
  const auto [channel, unit] = TRY(ide_place(machine, config));
  Drive* drive = TRY(machine.drives().take(config.drive), "drive");
  auto device = std::make_unique<DriveKind>(id, *drive->disk, DriveNames{.serial = config.serial});
  channel->plug(unit, *device);
  if (config.bootindex)
    TRY(machine.board().boot_order().add(
        *config.bootindex, format("/pci@i0cf8/ide@1,1/drive@{}/disk@{}",
                                  channel == machine.board().ide_channel(1) ? 1 : 0, unit)));
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kKinds[] = {
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
