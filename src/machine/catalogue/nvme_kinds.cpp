// NVMe controllers, and namespaces that are added to them.
#include "base/text.h"
#include "hw/nvme/nvme.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/drives.h"

namespace menura {

namespace {

struct NvmeProperties {
  PciPlace place;
  NvmeConfig config;
  NvmeNamespaceConfig space;
  std::string drive;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    config.describe(p);
    space.describe(p);
    p.field("drive", drive, "id of a -drive with if=none, or a node's name: namespace 1");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

Result<void> tell_boot_order(Machine& machine, const Nvme& nvme, u32 nsid, i32 bootindex) {
  return machine.board().boot_order().add(
      bootindex, firmware_path(nvme, "pci1b36,10") + format("/namespace@{:x},0", nsid));
}

MadeDevice make_nvme(Machine& machine, const std::string& id, const Value& options) {
  NvmeProperties properties;
  TRY(read_properties(properties, options, "nvme"));
  TRY(properties.config.check(), "nvme");
  auto device = std::make_unique<Nvme>(id, properties.config);
  if (!properties.drive.empty()) {
    Drive* drive = TRY(machine.drives().take(properties.drive), "nvme");
    TRY(device->add_namespace(1, *drive->disk, properties.space), "nvme");
  }
  TRY(plug_pci(machine, *device, properties.place, "nvme"));
  if (properties.bootindex) TRY(tell_boot_order(machine, *device, 1, *properties.bootindex));
  return std::unique_ptr<Device>(std::move(device));
}

struct NvmeNsProperties {
  NvmeNamespaceConfig space;
  std::string drive;
  std::string bus;
  u32 nsid = 0;
  std::optional<i32> bootindex;
  void describe(PropertyVisitor& p) {
    space.describe(p);
    p.required("drive", drive, "id of a -drive with if=none, or a node's name");
    p.field("bus", bus, "id of an nvme controller; the first one");
    p.field("nsid", nsid, "number of the namespace, 1 to 256; 0: the first free");
    p.field("bootindex", bootindex, "place in the firmware's boot order");
  }
};

// All that it is belongs to its controller.
class NvmeNs final : public Device {
 public:
  NvmeNs(std::string id, Nvme& controller) : Device(std::move(id), &controller) {}
  std::string_view type() const override { return "nvme-ns"; }
  void reset(ResetKind) override {}
  void describe(StateVisitor&) override {}
};

Result<Nvme*> find_controller(Machine& machine, const std::string& bus) {
  std::vector<std::string_view> names;
  for (Device* device : machine.devices().all()) {
    if (device->type() != "nvme") continue;
    if (bus.empty() || bus == device->id()) return static_cast<Nvme*>(device);
    names.push_back(device->id());
  }
  if (bus.empty()) return fail(Errc::NotFound, "There is no NVMe controller: add an nvme before");
  return fail(Errc::NotFound, "There is no NVMe controller '{}'{}", bus, suggestion(bus, names));
}

MadeDevice make_namespace(Machine& machine, const std::string& id, const Value& options) {
  NvmeNsProperties properties;
  TRY(read_properties(properties, options, "nvme-ns"));
  Nvme* controller = TRY(find_controller(machine, properties.bus), "nvme-ns");
  Drive* drive = TRY(machine.drives().take(properties.drive), "nvme-ns");
  const u32 nsid =
      TRY(controller->add_namespace(properties.nsid, *drive->disk, properties.space), "nvme-ns");
  if (properties.bootindex) TRY(tell_boot_order(machine, *controller, nsid, *properties.bootindex));
  return std::unique_ptr<Device>(std::make_unique<NvmeNs>(id, *controller));
}

constexpr DeviceKind kKinds[] = {
    {.name = "nvme",
     .bus = "PCI",
     .category = "Storage devices",
     .description = "NVM Express 1.4 controller, with a disk or for nvme-ns",
     .properties = properties_of<NvmeProperties>,
     .make = make_nvme},
    {.name = "nvme-ns",
     .bus = "nvme-bus",
     .category = "Storage devices",
     .description = "disk as a namespace of an NVMe controller",
     .properties = properties_of<NvmeNsProperties>,
     .make = make_namespace},
};

}  // namespace

std::span<const DeviceKind> nvme_device_kinds() { return kKinds; }

}  // namespace menura
