// Devices for test programs and for learning, and the generation ID.
#include <sys/mman.h>

#include "base/bits.h"
#include "base/uuid.h"
#include "hw/acpi/vm_generation_id.h"
#include "hw/testdev/edu.h"
#include "hw/testdev/pc_testdev.h"
#include "hw/testdev/pci_testdev.h"
#include "machine/catalogue/device_kinds.h"

namespace menura {

namespace {

struct EduProperties {
  PciPlace place;
  EduConfig config;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    config.describe(p);
  }
};

MadeDevice make_edu(Machine& machine, const std::string& id, const Value& options) {
  EduProperties properties;
  TRY(read_properties(properties, options, "edu"));
  auto device = std::make_unique<Edu>(id, properties.config, machine.loop().virtual_time());
  TRY(plug_pci(machine, *device, properties.place, "edu"));
  return std::unique_ptr<Device>(std::move(device));
}

struct PciTestdevProperties {
  PciPlace place;
  Size membar;
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("membar", membar, "size of a 64-bit BAR behind which nobody answers; 0: none");
  }
};

MadeDevice make_pci_testdev(Machine& machine, const std::string& id, const Value& options) {
  constexpr u64 kLeast = 4096, kMost = u64{1} << 40;
  PciTestdevProperties properties;
  TRY(read_properties(properties, options, "pci-testdev"));
  const u64 membar = properties.membar.bytes;
  if (membar != 0 && (!is_power_of_two(membar) || membar < kLeast || membar > kMost))
    return fail(Errc::OutOfRange, "pci-testdev: membar={} is no power of two from 4K to 1T",
                membar);
  auto device = std::make_unique<PciTestdev>(id, membar);
  TRY(plug_pci(machine, *device, properties.place, "pci-testdev"));
  return std::unique_ptr<Device>(std::move(device));
}

// Without access for a moment, the page is mapped anew by whoever maps it for a guest.
void flush_page(Machine& machine, u64 address) {
  constexpr u64 kPage = 4096;
  const View view = machine.memory().view();
  const FlatRange* range = view->find({address});
  if (!range || !range->writable_ram()) return;
  const u64 offset = align_down(range->offset_of({address}), kPage);
  if (offset >= range->ram->size()) return;
  std::byte* const page = range->ram->host() + offset;
  (void)::mprotect(page, kPage, PROT_NONE);
  (void)::mprotect(page, kPage, PROT_READ | PROT_WRITE);
}

struct NoProperties {
  void describe(PropertyVisitor&) {}
};

MadeDevice make_pc_testdev(Machine& machine, const std::string& id, const Value& options) {
  NoProperties none;
  TRY(read_properties(none, options, "pc-testdev"));
  std::array<IrqLine, PcTestdev::kIrqCount> irqs;
  for (unsigned irq = 0; irq < irqs.size(); irq++) irqs[irq] = machine.board().isa_irq(irq);
  if (!irqs[0].connected())
    return fail(Errc::Unsupported, "pc-testdev: this machine has no ISA interrupts");
  auto device = std::make_unique<PcTestdev>(
      id, [&machine](u64 address) { flush_page(machine, address); }, irqs);
  TRY(claim_ports(machine, PcTestdev::kLatch, device->latch()));
  TRY(claim_ports(machine, PcTestdev::kFlush, device->flush()));
  TRY(claim_ports(machine, PcTestdev::kBytes, device->bytes()));
  TRY(claim_ports(machine, PcTestdev::kIrqs, device->irqs()));
  machine.memory_root().map(PcTestdev::kMemory, device->memory(), 1);
  return std::unique_ptr<Device>(std::move(device));
}

struct GenerationIdProperties {
  std::string guid;
  void describe(PropertyVisitor& p) {
    p.required("guid", guid, "a UUID, or auto: one that nobody has had");
  }
};

MadeDevice make_generation_id(Machine& machine, const std::string& id, const Value& options) {
  GenerationIdProperties properties;
  TRY(read_properties(properties, options, "vmgenid"));
  if (find_generation_id(machine.devices()))
    return fail(Errc::Exists, "vmgenid: a machine has one generation ID, and this one has it");
  if (!machine.config().machine.acpi)
    return fail(Errc::Unsupported, "vmgenid: a guest finds it by ACPI, which is off");
  Uuid uuid{};
  if (properties.guid == "auto")
    machine.tape().random(writable_bytes_of(uuid));
  else
    uuid = TRY(parse_uuid(properties.guid), "vmgenid: guid");
  return std::unique_ptr<Device>(std::make_unique<VmGenerationId>(id, uuid));
}

constexpr DeviceKind kKinds[] = {
    {.name = "edu",
     .bus = "PCI",
     .category = "Misc devices",
     .description = "a device to learn on: factorials, DMA, interrupts",
     .properties = properties_of<EduProperties>,
     .make = make_edu},
    {.name = "pc-testdev",
     .bus = "ISA",
     .category = "Misc devices",
     .description = "ports and memory for test programs",
     .properties = properties_of<NoProperties>,
     .make = make_pc_testdev},
    {.name = "pci-testdev",
     .bus = "PCI",
     .category = "Misc devices",
     .description = "registers that count what test programs write",
     .properties = properties_of<PciTestdevProperties>,
     .make = make_pci_testdev},
    {.name = "vmgenid",
     .bus = "System",
     .category = "Misc devices",
     .description = "the Virtual Machine Generation ID",
     .properties = properties_of<GenerationIdProperties>,
     .make = make_generation_id},
};

}  // namespace

std::span<const DeviceKind> testdev_device_kinds() { return kKinds; }

}  // namespace menura
