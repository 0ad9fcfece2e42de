#include "hw/pci/pci_bridge.h"

#include "base/bits.h"
#include "base/units.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

// Header type 1 beyond what every header has. Prefetchable windows say 64-bit (1), I/O 16-bit (0).
constexpr ConfigRegister kRegisters[] = {
    {.offset = pci::kPrimaryBus, .name = "pbn", .writable = 0xff},
    {.offset = pci::kSecondaryBus, .name = "sbn", .writable = 0xff},
    {.offset = pci::kSubordinateBus, .name = "subn", .writable = 0xff},
    {.offset = pci::kSecondaryLatencyTimer, .name = "smlt", .writable = 0xff},
    {.offset = pci::kIoBase, .name = "iob", .writable = 0xf0},
    {.offset = pci::kIoLimit, .name = "iol", .writable = 0xf0},
    {.offset = pci::kSecondaryStatus, .size = 2, .name = "secsts", .w1c = pci::kStatusErrors},
    {.offset = pci::kMemoryBase, .size = 2, .name = "memb", .writable = 0xfff0},
    {.offset = pci::kMemoryLimit, .size = 2, .name = "meml", .writable = 0xfff0},
    {.offset = pci::kPrefetchBase, .size = 2, .name = "pmb", .reset = 1, .writable = 0xfff0},
    {.offset = pci::kPrefetchLimit, .size = 2, .name = "pml", .reset = 1, .writable = 0xfff0},
    {.offset = pci::kPrefetchBaseUpper, .size = 4, .name = "pmbu", .writable = 0xffff'ffff},
    {.offset = pci::kPrefetchLimitUpper, .size = 4, .name = "pmlu", .writable = 0xffff'ffff},
    {.offset = pci::kBridgeControl, .size = 2, .name = "bctl", .writable = 0x0b7f, .w1c = 0x0400},
};

constexpr u64 kIsaBlock = 1 * KiB;
constexpr u64 kIsaForwarded = 256;

}  // namespace

PciBridge::PciBridge(std::string id, std::string bus_name, const PciIdentity& identity,
                     Device* parent)
    : PciFunction(std::move(id), identity, parent, PciHeader::Bridge),
      memory_(Region::container(bus_name + ".memory", Region::kWholeSpace)),
      io_(Region::container(bus_name + ".io", 64 * KiB)),
      secondary_(bus_name, *this, memory_, io_) {
  config().define(kRegisters);
}

PciBridge::~PciBridge() {
  if (bus()) bus()->remove(*this);
}

bool PciBridge::reset_bit() const {
  return (config().get16(pci::kBridgeControl) & pci::kBridgeControlReset) != 0;
}

void PciBridge::config_written(unsigned, unsigned) {
  update_windows();
  const bool asserted = reset_bit();
  const bool rises = asserted && !in_reset_;
  in_reset_ = asserted;
  secondary_.hold_in_reset(asserted);
  if (rises) secondary_.reset(ResetKind::System);
}

void PciBridge::reset_chip(ResetKind) {
  in_reset_ = false;
  secondary_.hold_in_reset(false);
  update_windows();
}

Result<void> PciBridge::restored_chip() {
  in_reset_ = reset_bit();
  secondary_.hold_in_reset(in_reset_);
  update_windows();
  return {};
}

std::vector<PciBridge::Range> PciBridge::forwarded() const {
  std::vector<Range> ranges;
  const ConfigSpace& c = config();
  const u16 command = c.get16(pci::kCommand);
  if (command & pci::kCommandMemory) {
    const u64 first = u64{bits(c.get16(pci::kMemoryBase), 15, 4)} << 20;
    const u64 last = u64{bits(c.get16(pci::kMemoryLimit), 15, 4)} << 20 | low_mask(20);
    if (first <= last) ranges.push_back({PciSpace::Memory, first, last});
    const u64 prefetch_first = u64{c.get32(pci::kPrefetchBaseUpper)} << 32 |
                               u64{bits(c.get16(pci::kPrefetchBase), 15, 4)} << 20;
    const u64 prefetch_last = u64{c.get32(pci::kPrefetchLimitUpper)} << 32 |
                              u64{bits(c.get16(pci::kPrefetchLimit), 15, 4)} << 20 | low_mask(20);
    if (prefetch_first <= prefetch_last)
      ranges.push_back({PciSpace::Memory, prefetch_first, prefetch_last});
  }
  if (command & pci::kCommandIo) add_io_ranges(ranges);
  if (c.get16(pci::kBridgeControl) & pci::kBridgeControlVga) add_vga_ranges(ranges);
  return ranges;
}

// With ISA mode on, only the lowest 256 bytes of each aligned KiB belong to the window (§3.2.5.18).
void PciBridge::add_io_ranges(std::vector<Range>& ranges) const {
  const u64 first = u64{bits(config().get8(pci::kIoBase), 7, 4)} << 12;
  const u64 last = u64{bits(config().get8(pci::kIoLimit), 7, 4)} << 12 | low_mask(12);
  if (first > last) return;
  if ((config().get16(pci::kBridgeControl) & pci::kBridgeControlIsa) == 0) {
    ranges.push_back({PciSpace::Io, first, last});
    return;
  }
  for (u64 block = first; block < last; block += kIsaBlock)
    ranges.push_back({PciSpace::Io, block, block + kIsaForwarded - 1});
}

// VGA memory, and the VGA ports in each KiB of I/O space (ten address bits are decoded), or only
// once with 16-bit decode (§3.2.5.18, §12.1.3).
void PciBridge::add_vga_ranges(std::vector<Range>& ranges) const {
  const u16 command = config().get16(pci::kCommand);
  if (command & pci::kCommandMemory) ranges.push_back({PciSpace::Memory, 0xa'0000, 0xb'ffff});
  if ((command & pci::kCommandIo) == 0) return;
  const bool decode16 = (config().get16(pci::kBridgeControl) & pci::kBridgeControlVga16) != 0;
  const u64 end = decode16 ? kIsaBlock : 64 * KiB;
  for (u64 block = 0; block < end; block += kIsaBlock) {
    ranges.push_back({PciSpace::Io, block + 0x3b0, block + 0x3bb});
    ranges.push_back({PciSpace::Io, block + 0x3c0, block + 0x3df});
  }
}

void PciBridge::update_windows() {
  const PciRootWiring* wiring = bus() ? bus()->wiring() : nullptr;
  if (!wiring) return;
  std::vector<Range> wanted = forwarded();
  if (wanted == ranges_) return;
  Transaction transaction({&wiring->memory, &wiring->io});
  ranges_ = std::move(wanted);
  windows_.clear();
  for (const Range& range : ranges_) {
    Window& window = windows_.emplace_back(range, secondary_.space(range.space));
    bus()->space(range.space).map(range.first, window.region, PciBus::kPriority);
  }
}

}  // namespace menura
