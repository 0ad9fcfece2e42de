#include "hw/pci/pci_info.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/format.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

struct ClassName {
  u16 code;
  std::string_view name;
};
constexpr ClassName kClassNames[] = {
    {0x0001, "VGA compatible device"},
    {0x0100, "SCSI controller"},
    {0x0101, "IDE controller"},
    {0x0102, "Floppy controller"},
    {0x0104, "RAID controller"},
    {0x0106, "SATA controller"},
    {0x0107, "SAS controller"},
    {0x0108, "NVMe controller"},
    {0x0180, "Storage controller"},
    {0x0200, "Ethernet controller"},
    {0x0280, "Network controller"},
    {0x0300, "VGA controller"},
    {0x0301, "XGA controller"},
    {0x0380, "Display controller"},
    {0x0400, "Video controller"},
    {0x0401, "Audio controller"},
    {0x0403, "HD audio controller"},
    {0x0480, "Multimedia controller"},
    {0x0500, "RAM controller"},
    {0x0501, "Flash controller"},
    {0x0580, "Memory controller"},
    {0x0600, "Host bridge"},
    {0x0601, "ISA bridge"},
    {0x0604, "PCI bridge"},
    {0x0680, "Bridge"},
    {0x0700, "Serial port"},
    {0x0780, "Communication controller"},
    {0x0800, "PIC"},
    {0x0805, "SD host controller"},
    {0x0880, "System peripheral"},
    {0x0900, "Keyboard"},
    {0x0902, "Mouse"},
    {0x0980, "Input device"},
    {0x0c03, "USB controller"},
    {0x0c05, "SMBus controller"},
    {0x0d00, "IrDA controller"},
    {0x1000, "Network encryption"},
    {0x1080, "Encryption controller"},
};

std::string bar_kind(BarKind kind) {
  switch (kind) {
    case BarKind::Io: return "I/O";
    case BarKind::Memory32: return "32 bit memory";
    case BarKind::Memory32Prefetchable: return "32 bit prefetchable memory";
    case BarKind::Memory64: return "64 bit memory";
    case BarKind::Memory64Prefetchable: return "64 bit prefetchable memory";
    case BarKind::Rom: return "32 bit ROM";
  }
  unreachable();
}

void add_bars(std::string& text, const PciFunction& f) {
  for (unsigned i = 0; i < PciFunction::kBars; i++) {
    const PciBar& bar = f.bars()[i];
    if (!bar.region) continue;
    const int digits = bar.kind == BarKind::Io ? 4 : 8;
    if (bar.mapped)
      text += format("      BAR{}: {} at {:#0{}x} [{:#0{}x}].\n", i, bar_kind(bar.kind),
                     *bar.mapped, digits + 2, *bar.mapped + (bar.size - 1), digits + 2);
    else
      text += format("      BAR{}: {} unmapped, size {:#x}.\n", i, bar_kind(bar.kind), bar.size);
  }
}

void add_bridge(std::string& text, const ConfigSpace& c) {
  const u32 io_base = (c.get8(pci::kIoBase) & 0xf0u) << 8;
  const u32 io_limit = (c.get8(pci::kIoLimit) & 0xf0u) << 8 | 0xfff;
  const u64 base = u64{c.get16(pci::kMemoryBase) & 0xfff0u} << 16;
  const u64 limit = u64{c.get16(pci::kMemoryLimit) & 0xfff0u} << 16 | 0xf'ffff;
  const u64 prefetch_base = u64{c.get32(pci::kPrefetchBaseUpper)} << 32 |
                            u64{c.get16(pci::kPrefetchBase) & 0xfff0u} << 16;
  const u64 prefetch_limit = u64{c.get32(pci::kPrefetchLimitUpper)} << 32 |
                             u64{c.get16(pci::kPrefetchLimit) & 0xfff0u} << 16 | 0xf'ffff;
  text +=
      format("      BUS {}.\n      secondary bus {}.\n      subordinate bus {}.\n",
             c.get8(pci::kPrimaryBus), c.get8(pci::kSecondaryBus), c.get8(pci::kSubordinateBus));
  text += format("      IO range [{:#06x}, {:#06x}]\n", io_base, io_limit);
  text += format("      memory range [{:#010x}, {:#010x}]\n", base, limit);
  text += format("      prefetchable memory range [{:#010x}, {:#010x}]\n", prefetch_base,
                 prefetch_limit);
}

void add_function(std::string& text, const PciFunction& f) {
  const ConfigSpace& c = f.config();
  text += format("  Bus {:>2}, device {:>3}, function {}:\n", f.bus()->number(), f.slot(),
                 f.function());
  const u16 code = static_cast<u16>(f.identity().class_code >> 8);
  const std::string_view name = pci_class_name(code);
  text += format("    {}: PCI device {:04x}:{:04x}\n",
                 name.empty() ? format("Class {:04x}", code) : std::string(name),
                 f.identity().vendor, f.identity().device);
  if (f.identity().subsystem_vendor != 0)
    text += format("      PCI subsystem {:04x}:{:04x}\n", f.identity().subsystem_vendor,
                   f.identity().subsystem);
  if (f.interrupt_pin() != IntxPin::None)
    text += format("      IRQ {}, pin {}\n", c.get8(pci::kInterruptLine),
                   static_cast<char>('A' + static_cast<int>(f.interrupt_pin()) - 1));
  if (f.header() == PciHeader::Bridge) add_bridge(text, c);
  add_bars(text, f);
  text += format("      id \"{}\"\n", f.id());
}

}  // namespace

std::string_view pci_class_name(u16 class_and_subclass) {
  const auto row = std::ranges::find(kClassNames, class_and_subclass, &ClassName::code);
  return row == std::end(kClassNames) ? std::string_view() : row->name;
}

std::string print_pci(const PciBus& bus) {
  std::string text;
  const std::vector<PciFunction*> functions = bus.functions();
  for (const PciFunction* function : functions) add_function(text, *function);
  for (PciFunction* function : functions)
    if (PciBus* behind = function->secondary_bus()) text += print_pci(*behind);
  return text;
}

std::string print_config_space(const PciFunction& function) {
  constexpr unsigned kRow = 16;
  const ConfigSpace& c = function.config();
  std::string text;
  for (unsigned row = 0; row < ConfigSpace::kSize; row += kRow) {
    std::string values = format("{:02x}:", row);
    std::string masks = "   ";
    bool any = false;
    for (unsigned at = row; at < row + kRow; at++) {
      const u32 mask = c.writable(at, 1) | c.w1c(at, 1);
      values += format(" {:02x}", c.get8(at));
      masks += mask != 0 ? format(" {:02x}", mask) : std::string("   ");
      any |= mask != 0;
    }
    text += values + "\n";
    if (any) text += masks.substr(0, masks.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

}  // namespace menura
