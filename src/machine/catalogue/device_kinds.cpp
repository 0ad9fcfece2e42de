// The devices that -device adds: a config struct, a maker, and a row each.
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/ide/ide_channel.h"
#include "hw/isa/debug_ports.h"
#include "hw/pci/pci_bridge.h"
#include "hw/serial/uart16550.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"
#include "machine/drives.h"
#include "machine/machine.h"

namespace menura {

namespace {

using Made = Result<std::unique_ptr<Device>>;

template <class Config>
std::vector<PropertyInfo> properties_of() {
  return list_properties(Config{});
}

Result<void> claim_ports(Machine& machine, u16 base, Region& ports) {
  if (base + ports.last() > 0xffff)
    return fail(Errc::OutOfRange, "Ports {:#x} to {:#x} are beyond the last, 0xffff", base,
                base + ports.last());
  machine.io_root().map(base, ports, 1);
  return {};
}

struct SerialConfig {
  std::string chardev;
  u16 iobase = 0x3f8;
  u8 irq = 4;
  std::optional<u8> index;
  void describe(PropertyVisitor& p) {
    p.field("chardev", chardev, "what is connected to the port");
    p.field("iobase", iobase, "first I/O port");
    p.field("irq", irq, "ISA interrupt");
    p.field("index", index, "0 to 3 for COM1 to COM4: sets iobase and irq");
  }
};

Made make_serial(Machine& machine, const std::string& id, const Value& options) {
  constexpr u16 kBases[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
  constexpr u8 kIrqs[] = {4, 3, 4, 3};
  SerialConfig config;
  TRY(read_properties(config, options, "isa-serial"));
  if (config.index) {
    if (*config.index >= 4) return fail(Errc::OutOfRange, "isa-serial: index must be 0 to 3");
    config.iobase = kBases[*config.index];
    config.irq = kIrqs[*config.index];
  }
  const IrqLine irq = machine.board().isa_irq(config.irq);
  if (!irq.connected())
    return fail(Errc::OutOfRange, "isa-serial: this machine has no ISA interrupt {}", config.irq);
  Chardev* chardev = nullptr;
  if (!config.chardev.empty())
    chardev = TRY(machine.chardevs().connect(config.chardev), "isa-serial");
  auto device = std::make_unique<Uart16550>(id, machine.loop().virtual_time(), irq, chardev);
  TRY(claim_ports(machine, config.iobase, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

struct DebugconConfig {
  std::string chardev;
  u16 iobase = 0xe9;
  u8 readback = 0xe9;
  void describe(PropertyVisitor& p) {
    p.required("chardev", chardev, "where the bytes go");
    p.field("iobase", iobase, "the I/O port");
    p.field("readback", readback, "what the port reads as");
  }
};

Made make_debugcon(Machine& machine, const std::string& id, const Value& options) {
  DebugconConfig config;
  TRY(read_properties(config, options, "isa-debugcon"));
  Chardev* chardev = TRY(machine.chardevs().connect(config.chardev), "isa-debugcon");
  auto device = std::make_unique<DebugConsole>(id, config.readback, *chardev);
  TRY(claim_ports(machine, config.iobase, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

struct DebugExitConfig {
  u16 iobase = 0x501;
  u8 iosize = 2;
  void describe(PropertyVisitor& p) {
    p.field("iobase", iobase, "first I/O port");
    p.field("iosize", iosize, "number of ports, 1 to 8");
  }
};

Made make_debug_exit(Machine& machine, const std::string& id, const Value& options) {
  DebugExitConfig config;
  TRY(read_properties(config, options, "isa-debug-exit"));
  if (config.iosize < 1 || config.iosize > 8)
    return fail(Errc::OutOfRange, "isa-debug-exit: iosize must be 1 to 8, not {}", config.iosize);
  auto device = std::make_unique<DebugExit>(
      id, config.iosize, [&machine](int status) { machine.request_exit(status); });
  TRY(claim_ports(machine, config.iobase, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

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

struct BridgeConfig {
  std::string addr;
  void describe(PropertyVisitor& p) {
    p.field("addr", addr, "slot, or slot.function, in hexadecimal; the first free slot");
  }
};

Made make_bridge(Machine& machine, const std::string& id, const Value& options) {
  BridgeConfig config;
  TRY(read_properties(config, options, "pci-bridge"));
  PciBus* bus = machine.board().pci_bus();
  if (!bus) return fail(Errc::Unsupported, "pci-bridge: this machine has no PCI bus");
  auto device = std::make_unique<PciBridge>(id, id);
  TRY(bus->add(*device, TRY(parse_devfn(*bus, config.addr))), "pci-bridge");
  return std::unique_ptr<Device>(std::move(device));
}

struct IdeConfig {
  std::string drive;
  std::string bus = "ide.0";
  std::optional<u8> unit;
  std::string serial;
  void describe(PropertyVisitor& p) {
    p.required("drive", drive, "id of a -drive with if=none");
    p.field("bus", bus, "ide.0 or ide.1");
    p.field("unit", unit, "place on the bus: 0 or 1; the first free");
    p.field("serial", serial, "serial number");
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
Made make_ide(Machine& machine, const std::string& id, const Value& options) {
  IdeConfig config;
  TRY(read_properties(config, options, "IDE drive"));
  const auto [channel, unit] = TRY(ide_place(machine, config));
  Drive* drive = TRY(machine.drives().take(config.drive), "drive");
  auto device = std::make_unique<DriveKind>(id, *drive->disk, DriveNames{.serial = config.serial});
  channel->plug(unit, *device);
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kDeviceKinds[] = {
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
    {.name = "isa-debug-exit",
     .bus = "ISA",
     .category = "Misc devices",
     .description = "ends menura with a status the guest writes",
     .properties = properties_of<DebugExitConfig>,
     .make = make_debug_exit},
    {.name = "isa-debugcon",
     .bus = "ISA",
     .category = "Misc devices",
     .description = "a port whose bytes go to a character device",
     .properties = properties_of<DebugconConfig>,
     .make = make_debugcon},
    {.name = "isa-serial",
     .bus = "ISA",
     .category = "Input devices",
     .description = "16550A serial port",
     .properties = properties_of<SerialConfig>,
     .make = make_serial},
    {.name = "pci-bridge",
     .bus = "PCI",
     .category = "Controller/Bridge/Hub devices",
     .description = "PCI-to-PCI bridge",
     .properties = properties_of<BridgeConfig>,
     .make = make_bridge},
};

}  // namespace

std::span<const DeviceKind> device_kinds() { return kDeviceKinds; }

}  // namespace menura
