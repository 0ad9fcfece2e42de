// Graphics cards that -device and -vga add.
#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/fd.h"
#include "hw/display/vga_card.h"
#include "hw/pci/pci_bus.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/machine.h"

namespace menura {

namespace {

struct VgaConfig {
  PciPlace place;
  u32 vgamem_mb = 16;
  bool edid = true;
  u32 xres = 1280;
  u32 yres = 800;
  std::string romfile = "vgabios-stdvga.bin";
  void describe(PropertyVisitor& p) {
    place.describe(p);
    p.field("vgamem_mb", vgamem_mb, "video memory in MiB, 1 to 256, a power of two");
    p.field("edid", edid, "whether the monitor tells guests of its sizes");
    p.field("xres", xres, "width that it prefers");
    p.field("yres", yres, "height that it prefers");
    p.field("romfile", romfile, "the card's BIOS; empty: none");
  }
};

struct BochsConfig : VgaConfig {
  BochsConfig() { romfile = "vgabios-bochs-display.bin"; }
};

// A ROM file, padded to what a BAR can be.
Result<std::shared_ptr<RamBlock>> read_rom(const std::string& name, const std::string& block) {
  constexpr u64 kLimit = 16 * 1024 * 1024, kLeast = 2048;
  if (name.empty()) return std::shared_ptr<RamBlock>();
  const std::string content = TRY(read_file(TRY(find_firmware(name)), kLimit), "romfile={}", name);
  auto rom = TRY(RamBlock::create(
      {.name = block, .size = std::bit_ceil(std::max<u64>(content.size(), kLeast))}));
  rom->write(0, bytes_of(content));
  return rom;
}

// The legacy ports and window exist once.
Result<void> be_only_vga(Machine& machine, std::string_view driver) {
  for (const Device* device : machine.devices().all())
    if (device->type() == "VGA")
      return fail(Errc::Busy, "{}: '{}' is the machine's VGA already", driver, device->id());
  return {};
}

template <class Config, VgaCard::Legacy legacy>
MadeDevice make_vga(Machine& machine, const std::string& id, const Value& options) {
  constexpr bool kLegacy = legacy == VgaCard::Legacy::Yes;
  constexpr std::string_view kDriver = kLegacy ? "VGA" : "bochs-display";
  Config config;
  TRY(read_properties(config, options, kDriver));
  if (kLegacy) TRY(be_only_vga(machine, kDriver));
  if (config.vgamem_mb == 0 || config.vgamem_mb > 256 || !is_power_of_two(config.vgamem_mb))
    return fail(Errc::InvalidArgument, "{}: vgamem_mb must be a power of two from 1 to 256, not {}",
                kDriver, config.vgamem_mb);
  PciBus* bus = machine.board().pci_bus();
  if (!bus) return fail(Errc::Unsupported, "{}: this machine has no PCI bus", kDriver);
  auto vram = TRY(RamBlock::create({.name = id + ".vram", .size = u64{config.vgamem_mb} * MiB}),
                  "{}", kDriver);
  auto rom = TRY(read_rom(config.romfile, id + ".rom"), "{}", kDriver);
  auto card = std::make_unique<VgaCard>(
      id,
      VgaCard::Config{.legacy = legacy,
                      .edid = config.edid,
                      .mode = {.width = config.xres, .height = config.yres}},
      VgaWiring{.io = machine.io_root(),
                .memory = bus->space(PciSpace::Memory),
                .time = machine.loop().virtual_time(),
                .displays = machine.displays(),
                .sync_dirty = [&machine] { machine.accelerator().sync_dirty(); }},
      std::move(vram), std::move(rom));
  TRY(plug_pci(machine, *card, config.place, kDriver));
  return std::unique_ptr<Device>(std::move(card));
}

constexpr std::string_view kCategory = "Display devices";
constexpr DeviceKind kDisplayKinds[] = {
    {.name = "VGA",
     .bus = "PCI",
     .category = kCategory,
     .description = "the standard VGA, with a linear framebuffer",
     .properties = properties_of<VgaConfig>,
     .make = make_vga<VgaConfig, VgaCard::Legacy::Yes>},
    {.name = "bochs-display",
     .bus = "PCI",
     .category = kCategory,
     .description = "a linear framebuffer and nothing else",
     .properties = properties_of<BochsConfig>,
     .make = make_vga<BochsConfig, VgaCard::Legacy::No>},
};

}  // namespace

std::span<const DeviceKind> display_device_kinds() { return kDisplayKinds; }

}  // namespace menura
