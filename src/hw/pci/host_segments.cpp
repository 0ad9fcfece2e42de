#include "hw/pci/host_segments.h"

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"

namespace menura {

namespace {

constexpr u64 kSmramAddress = 0xa'0000, kSmramSize = 128 * KiB;

// What decides about a segment: two bits (read enable, write enable) of a PAM register, the SMRAM
// register, or the hole.
enum class Control : u8 { PamLow, PamHigh, Smram, Hole };
struct SegmentRow {
  u64 first;
  u64 size;
  Control control;
  u8 detail;  // PamLow, PamHigh: the register's number; Hole: which
};
constexpr SegmentRow kSegments[] = {
    {0xc'0000, 16 * KiB, Control::PamLow, 1},  {0xc'4000, 16 * KiB, Control::PamHigh, 1},
    {0xc'8000, 16 * KiB, Control::PamLow, 2},  {0xc'c000, 16 * KiB, Control::PamHigh, 2},
    {0xd'0000, 16 * KiB, Control::PamLow, 3},  {0xd'4000, 16 * KiB, Control::PamHigh, 3},
    {0xd'8000, 16 * KiB, Control::PamLow, 4},  {0xd'c000, 16 * KiB, Control::PamHigh, 4},
    {0xe'0000, 16 * KiB, Control::PamLow, 5},  {0xe'4000, 16 * KiB, Control::PamHigh, 5},
    {0xe'8000, 16 * KiB, Control::PamLow, 6},  {0xe'c000, 16 * KiB, Control::PamHigh, 6},
    {0xf'0000, 64 * KiB, Control::PamHigh, 0}, {kSmramAddress, kSmramSize, Control::Smram, 0},
    {0x8'0000, 128 * KiB, Control::Hole, 1},   {0xf0'0000, 1 * MiB, Control::Hole, 2},
};

constexpr u64 kSegmentsEnd = 16 * MiB;

// What a write to SMRAM comes to: D_LCK clears D_OPEN, and neither they nor G_SMRAME change until a reset.
u8 smram_written(u8 before, u8 value) {
  if ((before & smram::kLock) != 0) value = merge<u8>(before, value, smram::kClosed);
  return (value & smram::kLock) != 0 ? static_cast<u8>(value & ~smram::kOpen) : value;
}

}  // namespace

HostSegments::Overlay::Overlay(HostSegments& owner, Region& target, u64 first, u64 size)
    : region(Region::alias(target.name(), target, first, size)) {
  region.set_owner(owner.owner_);
  region.set_enabled(false);
  owner.wiring_.system_memory.map(first, region, kPriority);
}

HostSegments::SmmView::SmmView(HostSegments& owner, Region& root)
    : system(Region::alias("system", owner.wiring_.system_memory, 0, Region::kWholeSpace)),
      smram(Region::alias("smram", owner.dram_, kSmramAddress, kSmramSize)) {
  smram.set_owner(owner.owner_);
  root.map(0, system);
  root.map(kSmramAddress, smram, kPriority);
}

HostSegments::HostSegments(std::string owner, const HostBridgeWiring& wiring,
                           const Registers& registers)
    : owner_(std::move(owner)),
      wiring_(wiring),
      registers_(registers),
      pci_space_("pci", wiring.pci_memory),
      dram_(Region::ram("dram-reads", wiring.ram)),
      split_(Region::mmio("dram-writes", 1 * MiB, split_window_)),
      abort_(Region::mmio("master-abort", kSegmentsEnd, abort_window_)) {
  ensure(wiring.ram->size() >= 1 * MiB, "the bridge has DRAM for the first MiB");
  Transaction transaction(wiring_.memory);
  for (const SegmentRow& row : kSegments) {
    Segment& segment = segments_.emplace_back();
    segment.abort.emplace(*this, abort_, row.first, row.size);
    segment.pci.emplace(*this, wiring_.pci_memory, row.first, row.size);
    if (row.control != Control::PamLow && row.control != Control::PamHigh) continue;
    segment.dram_reads.emplace(*this, dram_, row.first, row.size);
    segment.dram_reads->region.set_readonly(true);
    segment.dram_writes.emplace(*this, split_, row.first, row.size);
  }
  if (wiring_.smm) smm_view_.emplace(*this, *wiring_.smm);
}

// A segment whose reads go to PCI while its writes go to DRAM: firmware copying a ROM to its shadow.
u64 HostSegments::read_split(Access access) {
  return pci_space_.load({access.offset}, access.size);
}

void HostSegments::write_split(Access access, u64 value) {
  std::array<std::byte, 8> bytes;
  store_le(Bytes(bytes), 0, value);
  wiring_.ram->write(access.offset, ConstBytes(bytes).first(access.size));
}

void HostSegments::written(ConfigSpace& config, Hole hole) {
  smram_ = smram_written(smram_, config.get8(registers_.smram));
  config.set(registers_.smram, 1, smram_);
  route(config, hole);
}

void HostSegments::follow(const ConfigSpace& config, Hole hole) {
  smram_ = config.get8(registers_.smram);
  route(config, hole);
}

void HostSegments::route(const ConfigSpace& config, Hole hole) {
  constexpr u8 kVisible = smram::kEnable | smram::kOpen;
  const auto route_of = [&](const SegmentRow& row) {
    const auto pam = [&] { return config.get8(registers_.pam0 + row.detail); };
    switch (row.control) {
      case Control::PamLow: return static_cast<Route>(bits(pam(), 1, 0));
      case Control::PamHigh: return static_cast<Route>(bits(pam(), 5, 4));
      case Control::Smram: return (smram_ & kVisible) == kVisible ? Route::Dram : Route::Pci;
      case Control::Hole: return static_cast<u8>(hole) == row.detail ? Route::Pci : Route::Dram;
    }
    unreachable();
  };
  Transaction transaction(wiring_.memory);
  if (smm_view_) smm_view_->smram.set_enabled((smram_ & smram::kEnable) != 0);
  const SegmentRow* row = kSegments;
  for (Segment& segment : segments_) {
    const Route route = route_of(*row++);
    segment.abort->region.set_enabled(route == Route::Pci);
    segment.pci->region.set_enabled(route == Route::Pci);
    if (!segment.dram_reads) continue;
    segment.dram_reads->region.set_enabled(route == Route::DramReads);
    segment.dram_writes->region.set_enabled(route == Route::DramWrites);
  }
}

}  // namespace menura
