// Network cards.
#include "machine/catalogue/nic_kinds.h"

#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "hw/net/e1000.h"
#include "hw/net/ne2000.h"
#include "hw/net/pcnet.h"
#include "hw/net/rtl8139.h"

namespace menura {

namespace {

// Where Debian's ipxe-qemu puts its images.
constexpr std::string_view kRomFolder = "/usr/lib/ipxe/qemu/";

template <class Card>
MadeDevice make_pci_nic(Machine& machine, const std::string& id, const Value& options,
                        std::string_view kind, std::string_view ipxe_name) {
  NicProperties config;
  TRY(read_properties(config, options, kind));
  OptionRom rom = TRY(nic_rom(id, config, ipxe_name), "{}", kind);
  const NicCable cable = TRY(machine.netdevs().plug({id, kind}, config.nic), "{}", kind);
  auto card = std::make_unique<Card>(id, cable.mac, *cable.port, machine.loop().virtual_time(),
                                     std::move(rom));
  TRY(plug_nic(machine, *card, config, kind));
  return std::unique_ptr<Device>(std::move(card));
}

MadeDevice make_e1000(Machine& machine, const std::string& id, const Value& options) {
  return make_pci_nic<E1000>(machine, id, options, "e1000", "efi-e1000.rom");
}

MadeDevice make_ne2k_pci(Machine& machine, const std::string& id, const Value& options) {
  return make_pci_nic<Ne2kPci>(machine, id, options, "ne2k_pci", "efi-ne2k_pci.rom");
}

MadeDevice make_pcnet(Machine& machine, const std::string& id, const Value& options) {
  return make_pci_nic<Pcnet>(machine, id, options, "pcnet", "efi-pcnet.rom");
}

MadeDevice make_rtl8139(Machine& machine, const std::string& id, const Value& options) {
  return make_pci_nic<Rtl8139>(machine, id, options, "rtl8139", "efi-rtl8139.rom");
}

struct Ne2kIsaProperties {
  NicOptions nic;
  u16 iobase = 0x300;
  u8 irq = 9;
  void describe(PropertyVisitor& p) {
    nic.describe(p);
    p.field("iobase", iobase, "first I/O port");
    p.field("irq", irq, "ISA interrupt");
  }
};

MadeDevice make_ne2k_isa(Machine& machine, const std::string& id, const Value& options) {
  Ne2kIsaProperties config;
  TRY(read_properties(config, options, "ne2k_isa"));
  const IrqLine irq = machine.board().isa_irq(config.irq);
  if (!irq.connected())
    return fail(Errc::OutOfRange, "ne2k_isa: this machine has no ISA interrupt {}", config.irq);
  const NicCable cable = TRY(machine.netdevs().plug({id, "ne2k_isa"}, config.nic), "ne2k_isa");
  auto card = std::make_unique<Ne2kIsa>(id, cable.mac, *cable.port, irq);
  TRY(claim_ports(machine, config.iobase, card->ports()), "ne2k_isa");
  return std::unique_ptr<Device>(std::move(card));
}

constexpr DeviceKind kKinds[] = {
    {.name = "e1000",
     .bus = "PCI",
     .category = "Network devices",
     .description = "Intel 82540EM, 1 Gb/s",
     .properties = properties_of<NicProperties>,
     .make = make_e1000},
    {.name = "ne2k_isa",
     .bus = "ISA",
     .category = "Network devices",
     .description = "Novell NE2000 for ISA, 10 Mb/s",
     .properties = properties_of<Ne2kIsaProperties>,
     .make = make_ne2k_isa},
    {.name = "ne2k_pci",
     .bus = "PCI",
     .category = "Network devices",
     .description = "Realtek RTL8029AS, a NE2000 for PCI, 10 Mb/s",
     .properties = properties_of<NicProperties>,
     .make = make_ne2k_pci},
    {.name = "pcnet",
     .bus = "PCI",
     .category = "Network devices",
     .description = "AMD Am79C970A PCnet-PCI II, 10 Mb/s",
     .properties = properties_of<NicProperties>,
     .make = make_pcnet},
    {.name = "rtl8139",
     .bus = "PCI",
     .category = "Network devices",
     .description = "Realtek RTL8139C, 100 Mb/s",
     .properties = properties_of<NicProperties>,
     .make = make_rtl8139},
};

}  // namespace

std::span<const DeviceKind> nic_device_kinds() { return kKinds; }

void NicProperties::describe(PropertyVisitor& p) {
  place.describe(p);
  nic.describe(p);
  p.field("bootindex", bootindex, "place in the firmware's boot order");
  p.field("romfile", romfile, "image of the boot ROM; empty: none (iPXE's)");
  p.field("rombar", rombar, "whether the card shows its boot ROM");
}

Result<OptionRom> nic_rom(const std::string& id, const NicProperties& properties,
                          std::string_view ipxe_name) {
  std::string path = properties.romfile.value_or(format("{}{}", kRomFolder, ipxe_name));
  if (!properties.rombar || path.empty()) return OptionRom();
  if (!properties.romfile && ::access(path.c_str(), R_OK) != 0) return OptionRom();
  if (properties.romfile && path.find('/') == std::string::npos &&
      ::access(path.c_str(), R_OK) != 0)
    path = format("{}{}", kRomFolder, path);
  const std::string image = TRY(read_file(path, OptionRom::kMost), "romfile");
  return TRY(OptionRom::load(id, bytes_of(image)), "romfile={}", path);
}

Result<void> plug_nic(Machine& machine, PciFunction& card, const NicProperties& properties,
                      std::string_view kind) {
  TRY(plug_pci(machine, card, properties.place, kind));
  if (properties.bootindex)
    TRY(machine.board().boot_order().add(*properties.bootindex,
                                         firmware_path(card, "ethernet") + "/ethernet-phy@0"));
  return {};
}

}  // namespace menura
