// The virtio devices that -device adds, each as NAME-pci, -transitional and -non-transitional.
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/drives.h"

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

template <class Kind, Variant variant>
MadeDevice make_virtio(Machine& machine, const std::string& id, const Value& given) {
  const VirtioKind& kind = Kind::Device::kKind;
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
    if (!config.rng.empty())
      return fail(Errc::NotFound, "There is no source of random bytes '{}'", config.rng);
    if (config.limits.period == 0) return fail(Errc::OutOfRange, "period must not be 0");
    return std::unique_ptr<VirtioDevice>(
        std::make_unique<VirtioRng>(machine.tape(), config.limits));
  }
  static unsigned vectors(const VirtioDevice&) { return 2; }
};

template <class Kind, Variant variant>
constexpr DeviceKind row(std::string_view name, std::string_view category,
                         std::string_view description) {
  return {.name = name,
          .bus = "PCI",
          .category = category,
          .description = description,
          .properties = properties_of<Properties<Kind, variant>>,
          .make = make_virtio<Kind, variant>};
}

constexpr std::string_view kStorage = "Storage devices", kMisc = "Misc devices";
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
};

}  // namespace

std::span<const DeviceKind> virtio_device_kinds() { return kKinds; }

}  // namespace menura
