// Devices on the ISA bus: fixed ports and interrupts, chosen by properties.
#include "hw/isa/debug_ports.h"
#include "hw/isa/pvpanic.h"
#include "hw/serial/uart16550.h"
#include "hw/watchdog/ib700.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/chardevs.h"

namespace menura {

namespace {

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

MadeDevice make_serial(Machine& machine, const std::string& id, const Value& options) {
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

MadeDevice make_debugcon(Machine& machine, const std::string& id, const Value& options) {
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

MadeDevice make_debug_exit(Machine& machine, const std::string& id, const Value& options) {
  DebugExitConfig config;
  TRY(read_properties(config, options, "isa-debug-exit"));
  if (config.iosize < 1 || config.iosize > 8)
    return fail(Errc::OutOfRange, "isa-debug-exit: iosize must be 1 to 8, not {}", config.iosize);
  auto device = std::make_unique<DebugExit>(
      id, config.iosize, [&machine](int status) { machine.request_exit(status); });
  TRY(claim_ports(machine, config.iobase, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

struct PvpanicConfig {
  u16 ioport = IsaPvpanic::kPort;
  u8 events = kAllPanicEvents;
  void describe(PropertyVisitor& p) {
    p.field("ioport", ioport, "the I/O port");
    p.field("events", events, "what is understood: 1 panics, 2 crash kernels, 3 both");
  }
};

MadeDevice make_pvpanic(Machine& machine, const std::string& id, const Value& options) {
  PvpanicConfig config;
  TRY(read_properties(config, options, "pvpanic"));
  if (config.events > kAllPanicEvents)
    return fail(Errc::OutOfRange, "pvpanic: events is 0 to 3, not {}", config.events);
  auto device = std::make_unique<IsaPvpanic>(id, config.events, [&machine](PanicEvent event) {
    return event == PanicEvent::Panicked ? machine.request_panic() : machine.report_crash_kernel();
  });
  TRY(claim_ports(machine, config.ioport, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

struct Ib700Config {
  void describe(PropertyVisitor&) {}
};

MadeDevice make_ib700(Machine& machine, const std::string& id, const Value& options) {
  Ib700Config config;
  TRY(read_properties(config, options, "ib700"));
  auto device = std::make_unique<Ib700>(id, machine.loop().virtual_time(),
                                        [&machine] { machine.request_watchdog(); });
  TRY(claim_ports(machine, Ib700::kBase, device->ports()));
  return std::unique_ptr<Device>(std::move(device));
}

constexpr DeviceKind kKinds[] = {
    {.name = "ib700",
     .bus = "ISA",
     .category = "Watchdog devices",
     .description = "iBASE 700 watchdog timer",
     .properties = properties_of<Ib700Config>,
     .make = make_ib700},
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
    {.name = "pvpanic",
     .bus = "ISA",
     .category = "Misc devices",
     .description = "a port by which the guest's kernel tells that it panicked",
     .properties = properties_of<PvpanicConfig>,
     .make = make_pvpanic},
};

}  // namespace

std::span<const DeviceKind> isa_device_kinds() { return kKinds; }

}  // namespace menura
