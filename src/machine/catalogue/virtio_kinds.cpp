// The virtio devices that -device adds, each as NAME-pci, -transitional and -non-transitional.
#include "machine/catalogue/virtio_kinds.h"

#include "hw/scsi/scsi_cd.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/virtio/virtio_9p.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_input.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"
#include "hw/virtio/virtio_serial.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/catalogue/objects.h"
#include "machine/chardevs.h"
#include "machine/drives.h"
#include "machine/netdevs.h"
#include "memory/discard.h"

namespace menura {

namespace {

using MadeVirtio = Result<std::unique_ptr<VirtioDevice>>;

// Whether legacy drivers are served is the user's choice, or said by the device's name.
enum class Variant : u8 { Generic, Transitional, NonTransitional };

// What all of them have on PCI.
template <Variant variant>
struct TransportConfig {
  PciPlace place;
  VirtioOptions virtio;
  OnOffAuto disable_legacy = OnOffAuto::Auto;
  bool disable_modern = false;
  bool ioeventfd = true;
  std::optional<u16> vectors;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    virtio.describe(p);
    if constexpr (variant == Variant::Generic) {
      p.field("disable-legacy", disable_legacy, "leave legacy drivers alone; auto: serve them");
      p.field("disable-modern", disable_modern, "serve legacy drivers only");
    }
    p.field("ioeventfd", ioeventfd, "let KVM take the doorbells");
    p.field("vectors", vectors, "MSI-X vectors; 0: none");
  }
};

template <class Kind, Variant variant>
struct Properties {
  typename Kind::Config config;
  TransportConfig<variant> transport;
  void describe(PropertyVisitor& p) {
    config.describe(p);
    transport.describe(p);
  }
};

Result<VirtioPciOptions> generations(Variant variant, OnOffAuto disable_legacy, bool disable_modern,
                                     const VirtioKind& kind) {
  VirtioPciOptions options;
  options.legacy = variant == Variant::Transitional ||
                   (variant == Variant::Generic && disable_legacy != OnOffAuto::On);
  options.modern = !disable_modern;
  if (kind.legacy_pci_device == 0) options.legacy = false;
  if (!options.legacy && !options.modern)
    return fail(Errc::InvalidArgument, "no driver can use {} without legacy and modern interface",
                kind.name);
  return options;
}

template <class Kind>
constexpr const VirtioKind& kind_of() {
  if constexpr (requires { Kind::kKind; })
    return Kind::kKind;
  else
    return Kind::Device::kKind;
}

template <class Kind, Variant variant>
MadeDevice make_virtio(Machine& machine, const std::string& id, const Value& given) {
  constexpr const VirtioKind& kind = kind_of<Kind>();
  Properties<Kind, variant> properties;
  TRY(read_properties(properties, given, kind.name));
  const TransportConfig<variant>& transport = properties.transport;
  VirtioPciOptions options =
      TRY(generations(variant, transport.disable_legacy, transport.disable_modern, kind), "{}", id);
  std::unique_ptr<VirtioDevice> virtio =
      TRY(Kind::make(machine, id, properties.config), "{}", kind.name);
  options.virtio = transport.virtio;
  options.vectors = transport.vectors.value_or(static_cast<u16>(Kind::vectors(*virtio)));
  if (options.vectors > 2048)
    return fail(Errc::OutOfRange, "{}: vectors must be 0 to 2048, not {}", kind.name,
                options.vectors);
  // The JIT calls a device at once; only a kernel needs descriptors for doorbells.
  const bool kernel = transport.ioeventfd && machine.accelerator().name() == "kvm";
  auto device = std::make_unique<VirtioPci>(
      id, std::move(virtio), options,
      VirtioPciWiring{.time = machine.loop().virtual_time(),
                      .event_loop = kernel ? &machine.loop() : nullptr});
  TRY(plug_pci(machine, *device, transport.place, kind.name));
  if constexpr (requires { Kind::plugged(machine, *device, properties.config); })
    TRY(Kind::plugged(machine, *device, properties.config), "{}", kind.name);
  return std::unique_ptr<Device>(std::move(device));
}

struct BlkKind {
  using Device = VirtioBlk;
  struct Config {
    std::string drive;
    std::optional<i32> bootindex;
    bool scsi = false;
    VirtioBlkConfig blk{.num_queues = 0};
    void describe(PropertyVisitor& p) {
      p.required("drive", drive, "id of a -drive with if=none, or a node's name");
      p.field("bootindex", bootindex, "place in the firmware's boot order");
      p.field("scsi", scsi, "pass SCSI commands through: no longer possible");
      blk.describe(p);
    }
  };
  static MadeVirtio make(Machine& machine, const std::string&, Config config) {
    if (config.scsi)
      return fail(Errc::Unsupported, "scsi=on: SCSI commands are not passed through");
    if (config.blk.num_queues == 0)
      config.blk.num_queues = static_cast<u16>(std::min(machine.topology().max_cpus, 1024u));
    TRY(config.blk.check());
    Drive* drive = TRY(machine.drives().take(config.drive), "drive");
    if (config.blk.serial.empty()) config.blk.serial = drive->options.serial;
    return std::unique_ptr<VirtioDevice>(std::make_unique<VirtioBlk>(*drive->disk, config.blk));
  }
  static unsigned vectors(const VirtioDevice& device) { return device.queues() + 1; }
  static Result<void> plugged(Machine& machine, VirtioPci& device, const Config& config) {
    if (!config.bootindex) return {};
    return machine.board().boot_order().add(*config.bootindex,
                                            firmware_path(device, "scsi") + "/disk@0,0");
  }
};

struct NinePKind {
  using Device = Virtio9p;
  struct Config {
    std::string fsdev, mount_tag;
    void describe(PropertyVisitor& p) {
      p.required("fsdev", fsdev, "id of the -fsdev it shows");
      p.required("mount_tag", mount_tag, "how the guest finds it, at most 31 bytes");
    }
  };
  static MadeVirtio make(Machine& machine, const std::string&, const Config& config) {
    if (config.mount_tag.empty() || config.mount_tag.size() > Virtio9p::kMostTag)
      return fail(Errc::OutOfRange, "mount_tag must have 1 to {} bytes", Virtio9p::kMostTag);
    FileShare* share = TRY(machine.shares().take(config.fsdev));
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<Virtio9p>(Virtio9pConfig{config.mount_tag}, *share));
  }
  static unsigned vectors(const VirtioDevice&) { return 2; }
};

struct RngKind {
  using Device = VirtioRng;
  struct Config {
    std::string rng;
    VirtioRngConfig limits;
    void describe(PropertyVisitor& p) {
      p.field("rng", rng, "id of an -object rng-...; the host's own source");
      limits.describe(p);
    }
  };
  static MadeVirtio make(Machine& machine, const std::string&, const Config& config) {
    if (!config.rng.empty()) TRY(find_source(machine, config.rng));
    if (config.limits.period == 0) return fail(Errc::OutOfRange, "period must not be 0");
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<VirtioRng>(machine.tape(), config.limits));
  }
  static unsigned vectors(const VirtioDevice&) { return 2; }
  static Result<void> find_source(Machine& machine, const std::string& id) {
    for (const NamedOptions& object : machine.config().objects)
      if (object.id == id) return check_rng(object);
    return fail(Errc::NotFound, "There is no source of random bytes '{}'", id);
  }
};

struct BalloonKind {
  using Device = VirtioBalloon;
  using Config = VirtioBalloonConfig;
  static MadeVirtio make(Machine& machine, const std::string&, const Config& config) {
    const VirtioBalloon::Wiring wiring{
        .discard = [&machine](u64 at, u64 size) { discard_ram(machine.memory(), {at}, size); },
        .changed =
            [&machine](u64 actual) {
              Value data = Value::object();
              data.set("actual", actual);
              machine.emit("BALLOON_CHANGE", std::move(data));
            }};
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<VirtioBalloon>(config, machine.config().memory.size.bytes, wiring));
  }
  static unsigned vectors(const VirtioDevice&) { return 0; }
};

struct NetKind {
  using Device = VirtioNet;
  struct Config {
    NicOptions nic;
    bool mq = false;
    VirtioNetConfig net;
    void describe(PropertyVisitor& p) {
      nic.describe(p);
      p.field("mq", mq, "a pair of queues for each CPU");
      net.describe(p);
    }
  };
  static MadeVirtio make(Machine& machine, const std::string& id, Config config) {
    constexpr u32 kMostPairs = 64;
    TRY(config.net.check());
    if (config.mq) config.net.pairs = std::min(machine.topology().max_cpus, kMostPairs);
    const NicCable cable =
        TRY(machine.netdevs().plug({.id = id, .model = "virtio-net-pci"}, config.nic));
    config.net.mac = cable.mac;
    return std::unique_ptr<VirtioDevice>(std::make_unique<VirtioNet>(config.net, cable.port));
  }
  static unsigned vectors(const VirtioDevice& device) { return device.queues() + 1; }
};

struct SerialKind {
  using Device = VirtioSerial;
  struct Config {
    u32 max_ports = VirtioSerial::kMostPorts;
    bool emergency_write = true;
    void describe(PropertyVisitor& p) {
      p.field("max_ports", max_ports, "how many ports it has room for, 1 to 31");
      p.field("emergency-write", emergency_write, "take a dying kernel's bytes without a queue");
    }
  };
  static MadeVirtio make(Machine&, const std::string&, const Config& config) {
    if (config.max_ports == 0 || config.max_ports > VirtioSerial::kMostPorts)
      return fail(Errc::OutOfRange, "max_ports must be 1 to {}, not {}", VirtioSerial::kMostPorts,
                  config.max_ports);
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<VirtioSerial>(config.max_ports, config.emergency_write));
  }
  static unsigned vectors(const VirtioDevice& device) { return device.queues() / 2; }
};

template <VirtioInput::Role role>
struct InputKind {
  static constexpr VirtioKind kKind = VirtioInput::kind_of(role);
  struct Config {
    std::string serial;
    void describe(PropertyVisitor& p) { p.field("serial", serial, "serial number"); }
  };
  static MadeVirtio make(Machine& machine, const std::string&, const Config& config) {
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<VirtioInput>(role, config.serial, machine.inputs()));
  }
  static unsigned vectors(const VirtioDevice&) { return 2; }
};

// A virtio device behind the PCI function that carries it; null for other devices.
VirtioDevice* virtio_of(Device& device, const VirtioKind& kind) {
  // Only VirtioPci has types of this form.
  if (device.type() != format("{}-pci", kind.name)) return nullptr;
  return &static_cast<VirtioPci&>(device).device();
}

struct PortConfig {
  std::string chardev;
  std::string name;
  std::string bus;
  std::optional<u32> nr;
  void describe(PropertyVisitor& p) {
    p.field("chardev", chardev, "what is connected to the port");
    p.field("name", name, "how the guest finds it");
    p.field("bus", bus, "ID.0 of a virtio-serial-pci; the first one");
    p.field("nr", nr, "number of the port; the first free");
  }
};

// The serial device whose bus this is, of those that are there.
Result<VirtioSerial*> serial_bus(Machine& machine, const std::string& bus) {
  for (Device* device : machine.devices().all())
    if (VirtioDevice* found = virtio_of(*device, VirtioSerial::kKind))
      if (bus.empty() || bus == device->id() + ".0") return static_cast<VirtioSerial*>(found);
  return fail(Errc::NotFound, "There is no virtio serial bus{}",
              bus.empty() ? "; a virtio-serial-pci has one" : format(" '{}'", bus));
}

// Port 0 is for a console: kernels without MULTIPORT have only that.
template <bool console>
MadeDevice make_port(Machine& machine, const std::string& id, const Value& options) {
  constexpr std::string_view kName = console ? "virtconsole" : "virtserialport";
  PortConfig config;
  TRY(read_properties(config, options, kName));
  VirtioSerial* bus = TRY(serial_bus(machine, config.bus), "{}", kName);
  const unsigned number = config.nr.value_or(bus->free_number(console ? 0 : 1));
  if (number >= bus->max_ports() || bus->port(number))
    return fail(Errc::Busy, "{}: the bus has {} ports, and {} is {}", kName, bus->max_ports(),
                number, number < bus->max_ports() ? "taken" : "not among them");
  if (number == 0 && !console)
    return fail(Errc::InvalidArgument, "virtserialport: port 0 is for a virtconsole");
  Chardev* chardev = nullptr;
  if (!config.chardev.empty())
    chardev = TRY(machine.chardevs().connect(config.chardev), "{}", kName);
  const auto on_open = [&machine, id](bool open) {
    Value data = Value::object();
    data.set("id", id);
    data.set("open", open);
    machine.emit("VSERPORT_CHANGE", std::move(data));
  };
  return std::unique_ptr<Device>(std::make_unique<VirtioSerialPort>(
      id, *bus, VirtioSerialPortConfig{.console = console, .number = number, .name = config.name},
      chardev, on_open));
}

struct ScsiKind {
  using Device = VirtioScsi;
  struct Config {
    VirtioScsiConfig scsi{.num_queues = 0};
    void describe(PropertyVisitor& p) { scsi.describe(p); }
  };
  static MadeVirtio make(Machine& machine, const std::string&, Config config) {
    if (config.scsi.num_queues == 0)
      config.scsi.num_queues = std::min(machine.topology().max_cpus, 1022u);
    TRY(config.scsi.check());
    return std::unique_ptr<VirtioDevice>(std::make_unique<VirtioScsi>(config.scsi));
  }
  static unsigned vectors(const VirtioDevice& device) { return device.queues() + 1; }
};

// Where a SCSI unit is plugged, and what it shows.
struct ScsiPlace {
  std::string drive;
  std::string bus;
  u32 channel = 0;
  std::optional<u32> scsi_id;
  u32 lun = 0;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    p.required("drive", drive, "id of a -drive with if=none, or a node's name");
    p.field("bus", bus, "ID.0 of a virtio-scsi-pci; the first one");
    p.field("channel", channel, "0, there are no others");
    p.field("scsi-id", scsi_id, "target number, 0 to 255; the first free");
    p.field("lun", lun, "logical unit number, 0 to 255");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

struct ScsiDiskProperties {
  ScsiPlace place;
  ScsiDiskConfig disk;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("serial", disk.serial, "serial number");
    p.field("device_id", disk.device_id, "what the disk is known by; the serial number");
    p.field("vendor", disk.vendor, "vendor to tell, 8 characters");
    p.field("product", disk.product, "model to tell, 16 characters");
    p.field("ver", disk.version, "version to tell, 4 characters");
    p.field("rotation_rate", disk.rotation_rate, "turns a minute to tell; 1: none, 0: not said");
    p.field("removable", disk.removable, "whether it says that its medium can be taken out");
    p.field("write-cache", disk.write_cache, "whether the disk begins with its write cache on");
  }
};

struct ScsiCdProperties {
  ScsiPlace place;
  ScsiCdConfig cd;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("vendor", cd.vendor, "vendor to tell, 8 characters");
    p.field("product", cd.product, "model to tell, 16 characters");
    p.field("ver", cd.version, "version to tell, 4 characters");
  }
};

// A virtio-scsi-pci by the name of its bus, or the first one.
Result<VirtioPci*> scsi_adapter(Machine& machine, const std::string& bus) {
  for (Device* device : machine.devices().all())
    if (virtio_of(*device, VirtioScsi::kKind) && (bus.empty() || bus == device->id() + ".0"))
      return static_cast<VirtioPci*>(device);
  return fail(Errc::NotFound, "There is no SCSI bus{}",
              bus.empty() ? "; a virtio-scsi-pci has one" : format(" '{}'", bus));
}

struct ScsiSocket {
  VirtioScsi* bus;
  unsigned target;
  Drive* drive;
};

// A free place of the bus, and the drive for it.
Result<ScsiSocket> take_scsi_place(Machine& machine, const ScsiPlace& place) {
  VirtioPci* adapter = TRY(scsi_adapter(machine, place.bus));
  auto& bus = static_cast<VirtioScsi&>(adapter->device());
  unsigned target = place.scsi_id.value_or(0);
  while (!place.scsi_id && target < ScsiBus::kTargets && bus.unit(target, place.lun)) target++;
  if (place.channel != 0 || target >= ScsiBus::kTargets || place.lun >= ScsiBus::kLuns ||
      bus.unit(target, place.lun))
    return fail(Errc::Busy, "channel={}, scsi-id={}, lun={} is taken or does not exist",
                place.channel, target, place.lun);
  Drive* drive = TRY(machine.drives().take(place.drive), "drive");
  if (place.bootindex)
    TRY(machine.board().boot_order().add(
        *place.bootindex,
        format("{}/channel@0/disk@{:x},{:x}", firmware_path(*adapter, "scsi"), target, place.lun)));
  return ScsiSocket{&bus, target, drive};
}

MadeDevice make_scsi_disk(Machine& machine, const std::string& id, const Value& options) {
  ScsiDiskProperties properties;
  TRY(read_properties(properties, options, "scsi-hd"));
  const ScsiSocket socket = TRY(take_scsi_place(machine, properties.place), "scsi-hd");
  ScsiDiskConfig& config = properties.disk;
  config.target = socket.target;
  config.lun = properties.place.lun;
  if (config.serial.empty()) config.serial = socket.drive->options.serial;
  if (config.device_id.empty() && config.serial.empty()) config.device_id = properties.place.drive;
  return std::unique_ptr<Device>(
      std::make_unique<ScsiDisk>(id, *socket.bus, config, *socket.drive->disk));
}

MadeDevice make_scsi_cd(Machine& machine, const std::string& id, const Value& options) {
  ScsiCdProperties properties;
  TRY(read_properties(properties, options, "scsi-cd"));
  const ScsiSocket socket = TRY(take_scsi_place(machine, properties.place), "scsi-cd");
  properties.cd.target = socket.target;
  properties.cd.lun = properties.place.lun;
  return std::unique_ptr<Device>(
      std::make_unique<ScsiCd>(id, *socket.bus, properties.cd, *socket.drive->disk));
}

template <class Kind>
constexpr bool kHasBuses = std::is_same_v<Kind, SerialKind> || std::is_same_v<Kind, ScsiKind>;

template <class Kind, Variant variant>
constexpr DeviceKind row(std::string_view name, std::string_view category,
                         std::string_view description) {
  return {.name = name,
          .bus = "PCI",
          .category = category,
          .description = description,
          .properties = properties_of<Properties<Kind, variant>>,
          .make = make_virtio<Kind, variant>,
          .has_buses = kHasBuses<Kind>};
}

constexpr std::string_view kStorage = "Storage devices", kMisc = "Misc devices",
                           kInput = "Input devices", kNetwork = "Network devices";
using enum Variant;

constexpr DeviceKind kKinds[] = {
    row<BlkKind, Generic>("virtio-blk-pci", kStorage, "virtio disk"),
    row<BlkKind, Transitional>("virtio-blk-pci-transitional", kStorage,
                               "virtio disk for any driver"),
    row<BlkKind, NonTransitional>("virtio-blk-pci-non-transitional", kStorage,
                                  "virtio disk for modern drivers"),
    row<RngKind, Generic>("virtio-rng-pci", kMisc, "virtio source of random bytes"),
    row<RngKind, Transitional>("virtio-rng-pci-transitional", kMisc,
                               "virtio source of random bytes for any driver"),
    row<RngKind, NonTransitional>("virtio-rng-pci-non-transitional", kMisc,
                                  "virtio source of random bytes for modern drivers"),
    row<NinePKind, Generic>("virtio-9p-pci", kStorage, "virtio shared folder"),
    row<NinePKind, Transitional>("virtio-9p-pci-transitional", kStorage,
                                 "virtio shared folder for any driver"),
    row<NinePKind, NonTransitional>("virtio-9p-pci-non-transitional", kStorage,
                                    "virtio shared folder for modern drivers"),
    row<NetKind, Generic>("virtio-net-pci", kNetwork, "virtio network card"),
    row<NetKind, Transitional>("virtio-net-pci-transitional", kNetwork,
                               "virtio network card for any driver"),
    row<NetKind, NonTransitional>("virtio-net-pci-non-transitional", kNetwork,
                                  "virtio network card for modern drivers"),
    row<BalloonKind, Generic>("virtio-balloon-pci", kMisc, "virtio memory balloon"),
    row<BalloonKind, Transitional>("virtio-balloon-pci-transitional", kMisc,
                                   "virtio memory balloon for any driver"),
    row<BalloonKind, NonTransitional>("virtio-balloon-pci-non-transitional", kMisc,
                                      "virtio memory balloon for modern drivers"),
    row<SerialKind, Generic>("virtio-serial-pci", kInput, "virtio serial ports and consoles"),
    row<SerialKind, Transitional>("virtio-serial-pci-transitional", kInput,
                                  "virtio serial ports and consoles for any driver"),
    row<SerialKind, NonTransitional>("virtio-serial-pci-non-transitional", kInput,
                                     "virtio serial ports and consoles for modern drivers"),
    row<ScsiKind, Generic>("virtio-scsi-pci", kStorage, "virtio SCSI adapter"),
    row<ScsiKind, Transitional>("virtio-scsi-pci-transitional", kStorage,
                                "virtio SCSI adapter for any driver"),
    row<ScsiKind, NonTransitional>("virtio-scsi-pci-non-transitional", kStorage,
                                   "virtio SCSI adapter for modern drivers"),
    {.name = "scsi-cd",
     .bus = "SCSI",
     .category = kStorage,
     .description = "SCSI CD-ROM drive",
     .properties = properties_of<ScsiCdProperties>,
     .make = make_scsi_cd},
    {.name = "scsi-hd",
     .bus = "SCSI",
     .category = kStorage,
     .description = "SCSI hard disk",
     .properties = properties_of<ScsiDiskProperties>,
     .make = make_scsi_disk},
    row<InputKind<VirtioInput::Role::Keyboard>, NonTransitional>("virtio-keyboard-pci", kInput,
                                                                 "virtio keyboard"),
    row<InputKind<VirtioInput::Role::Mouse>, NonTransitional>("virtio-mouse-pci", kInput,
                                                              "virtio mouse"),
    row<InputKind<VirtioInput::Role::Tablet>, NonTransitional>(
        "virtio-tablet-pci", kInput, "virtio tablet: a pointer with positions"),
    {.name = "virtconsole",
     .bus = "virtio-serial-bus",
     .category = kInput,
     .description = "a console on a virtio-serial-pci",
     .properties = properties_of<PortConfig>,
     .make = make_port<true>},
    {.name = "virtserialport",
     .bus = "virtio-serial-bus",
     .category = kInput,
     .description = "a channel of bytes on a virtio-serial-pci",
     .properties = properties_of<PortConfig>,
     .make = make_port<false>},
};

}  // namespace

std::span<const DeviceKind> virtio_device_kinds() { return kKinds; }

VirtioBalloon* balloon_of(Device& device) {
  return static_cast<VirtioBalloon*>(virtio_of(device, VirtioBalloon::kKind));
}

}  // namespace menura
