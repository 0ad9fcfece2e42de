#include "hw/pci/i440fx.h"

#include <array>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

constexpr PciIdentity kIdentity{
    .vendor = 0x8086, .device = 0x1237, .class_code = 0x060000, .revision = 0x02};

constexpr unsigned kPam0 = 0x59;
constexpr unsigned kFdhc = 0x68;
constexpr unsigned kSmram = 0x72;
constexpr u8 kSmramOpen = 1 << 6;
constexpr u8 kSmramClosed = 1 << 5;
constexpr u8 kSmramLock = 1 << 4;
constexpr u8 kSmramEnable = 1 << 3;
constexpr u8 kSmramBase = 0x02;  // read-only: A0000h
constexpr u64 kSmramAddress = 0xa'0000, kSmramSize = 128 * KiB;

// §3.2 of the data sheet.
constexpr ConfigRegister kRegisters[] = {
    {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .reset = 0x0006, .writable = 0x0140},
    {.offset = pci::kStatus, .size = 2, .name = "pcists", .reset = 0x0280, .w1c = 0xf100},
    {.offset = pci::kCacheLineSize, .name = "reserved"},
    {.offset = pci::kLatencyTimer, .name = "mlt", .writable = 0xf8},
    {.offset = pci::kInterruptLine, .name = "reserved"},
    {.offset = 0x50, .size = 2, .name = "pmccfg", .writable = 0x3ff8},
    {.offset = 0x52, .name = "deturbo", .writable = 0xff},
    {.offset = 0x53, .name = "dbc", .reset = 0x80, .writable = 0xff},
    {.offset = 0x54, .name = "axc", .writable = 0xff},
    {.offset = 0x55, .size = 2, .name = "drt", .writable = 0xffff},
    {.offset = 0x57, .name = "dramc", .reset = 0x01, .writable = 0xff},
    {.offset = 0x58, .name = "dramt", .reset = 0x10, .writable = 0xff},
    {.offset = 0x59, .name = "pam0", .writable = 0x30},
    {.offset = 0x5a, .name = "pam1", .writable = 0x33},
    {.offset = 0x5b, .name = "pam2", .writable = 0x33},
    {.offset = 0x5c, .name = "pam3", .writable = 0x33},
    {.offset = 0x5d, .name = "pam4", .writable = 0x33},
    {.offset = 0x5e, .name = "pam5", .writable = 0x33},
    {.offset = 0x5f, .name = "pam6", .writable = 0x33},
    {.offset = 0x60, .size = 4, .name = "drb0_3", .reset = 0x01010101, .writable = 0xffff'ffff},
    {.offset = 0x64, .size = 4, .name = "drb4_7", .reset = 0x01010101, .writable = 0xffff'ffff},
    {.offset = kFdhc, .name = "fdhc", .writable = 0xc0},
    {.offset = 0x70, .name = "mtt", .writable = 0xff},
    {.offset = 0x71, .name = "clt", .reset = 0x10, .writable = 0xff},
    {.offset = kSmram,
     .name = "smram",
     .reset = kSmramBase,
     .writable = kSmramOpen | kSmramClosed | kSmramLock | kSmramEnable},
    {.offset = 0x90, .name = "errcmd", .writable = 0xff},
    {.offset = 0x91, .name = "errsts", .w1c = 0x11},
};

// What decides about a segment: two bits (read enable, write enable) of a PAM register, the SMRAM
// register, or a value of FDHC's hole field.
enum class Control : u8 { PamLow, PamHigh, Smram, Hole };
struct SegmentRow {
  u64 first;
  u64 size;
  Control control;
  u8 detail;  // PamLow, PamHigh: the register's number; Hole: HEN's value
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

// Over the DRAM.
constexpr int kSegmentPriority = 1;

}  // namespace

I440fx::Overlay::Overlay(I440fx& owner, Region& target, u64 first, u64 size)
    : region(Region::alias(target.name(), target, first, size)) {
  region.set_owner(owner.id());
  region.set_enabled(false);
  owner.wiring_.system_memory.map(first, region, kSegmentPriority);
}

I440fx::SmmView::SmmView(I440fx& owner, Region& root)
    : system(Region::alias("system", owner.wiring_.system_memory, 0, Region::kWholeSpace)),
      smram(Region::alias("smram", owner.dram_, kSmramAddress, kSmramSize)) {
  smram.set_owner(owner.id());
  root.map(0, system);
  root.map(kSmramAddress, smram, kSegmentPriority);
}

I440fx::I440fx(std::string id, const I440fxWiring& wiring, Device* parent)
    : PciFunction(std::move(id), kIdentity, parent),
      wiring_(wiring),
      pirq_gate_([this](unsigned pin, bool level) {
        return pirqs_ ? pirqs_->set_irq(pin, level) : IrqStatus::Ignored;
      }),
      root_bus_("pci.0", {.memory = wiring.memory,
                          .io = wiring.io,
                          .memory_window = wiring.pci_memory,
                          .io_window = wiring.io_window,
                          .intx = &pirq_gate_,
                          .intx_route = &I440fx::pirq_of,
                          .msi = wiring.msi}),
      config_ports_(root_bus_),
      pci_space_("pci", wiring.pci_memory),
      dram_(Region::ram("dram-reads", wiring.ram)),
      split_(Region::mmio("dram-writes", 1 * MiB, split_window_)),
      abort_(Region::mmio("master-abort", kSegmentsEnd, abort_window_)) {
  ensure(wiring.ram->size() >= 1 * MiB, "the bridge has DRAM for the first MiB");
  config().define(kRegisters);
  root_bus_.add(*this, PciBus::devfn(0, 0)).value();
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
  guard_smram();
  update_segments();
}

// A segment whose reads go to PCI while its writes go to DRAM: firmware copying a ROM to its shadow.
u64 I440fx::read_split(Access access) { return pci_space_.load({access.offset}, access.size); }

void I440fx::write_split(Access access, u64 value) {
  std::array<std::byte, 8> bytes;
  store_le(Bytes(bytes), 0, value);
  wiring_.ram->write(access.offset, ConstBytes(bytes).first(access.size));
}

// D_LCK clears D_OPEN, and neither they nor G_SMRAME can be written until the next reset.
void I440fx::guard_smram() {
  u8 smram = config().get8(kSmram);
  if ((smram_ & kSmramLock) != 0) smram = merge<u8>(smram_, smram, kSmramClosed);
  if ((smram & kSmramLock) != 0) smram = static_cast<u8>(smram & ~kSmramOpen);
  config().set(kSmram, 1, smram);
  smram_ = smram;
}

void I440fx::config_written(unsigned offset, unsigned size) {
  if (offset > kSmram || offset + size <= kPam0) return;
  guard_smram();
  update_segments();
}

I440fx::Route I440fx::route_of(unsigned segment) const {
  constexpr u8 kVisible = kSmramEnable | kSmramOpen;
  const SegmentRow& row = kSegments[segment];
  switch (row.control) {
    case Control::PamLow: return static_cast<Route>(bits(config().get8(kPam0 + row.detail), 1, 0));
    case Control::PamHigh: return static_cast<Route>(bits(config().get8(kPam0 + row.detail), 5, 4));
    case Control::Smram: return (smram_ & kVisible) == kVisible ? Route::Dram : Route::Pci;
    case Control::Hole:
      return bits(config().get8(kFdhc), 7, 6) == row.detail ? Route::Pci : Route::Dram;
  }
  unreachable();
}

void I440fx::update_segments() {
  Transaction transaction(wiring_.memory);
  if (smm_view_) smm_view_->smram.set_enabled((smram_ & kSmramEnable) != 0);
  unsigned number = 0;
  for (Segment& segment : segments_) {
    const Route route = route_of(number++);
    segment.abort->region.set_enabled(route == Route::Pci);
    segment.pci->region.set_enabled(route == Route::Pci);
    if (!segment.dram_reads) continue;
    segment.dram_reads->region.set_enabled(route == Route::DramReads);
    segment.dram_writes->region.set_enabled(route == Route::DramWrites);
  }
}

void I440fx::reset_chip(ResetKind) {
  smram_ = config().get8(kSmram);
  config_ports_.reset();
  update_segments();
}

void I440fx::describe_chip(StateVisitor& v) { v.field("config_ports", config_ports_); }

Result<void> I440fx::restored_chip() {
  smram_ = config().get8(kSmram);
  update_segments();
  return {};
}

}  // namespace menura
