#include "hw/pci/pci_function.h"

#include "base/bits.h"
#include "base/trace.h"
#include "base/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {

TRACE_EVENT(kBarMapped, "pci.bar_mapped", "{} BAR {} size {:#x} at {:#x}");
TRACE_EVENT(kBarUnmapped, "pci.bar_unmapped", "{} BAR {}");
TRACE_EVENT(kIntx, "pci.intx", "{} root pin {} level {}");

constexpr u16 kCommandWritable = pci::kCommandIo | pci::kCommandMemory | pci::kCommandBusMaster |
                                 pci::kCommandParity | pci::kCommandSerr | pci::kCommandIntxDisable;

bool is_64bit(BarKind kind) {
  return kind == BarKind::Memory64 || kind == BarKind::Memory64Prefetchable;
}

// The read-only type bits (PCI 3.0 §6.2.5.1).
u32 type_bits(BarKind kind) {
  switch (kind) {
    case BarKind::Io: return 1;
    case BarKind::Memory32: return 0;
    case BarKind::Memory32Prefetchable: return 8;
    case BarKind::Memory64: return 4;
    case BarKind::Memory64Prefetchable: return 4 | 8;
    case BarKind::Rom: return 0;
  }
  unreachable();
}

struct SizeLimits {
  u64 least;
  u64 most;
};

SizeLimits limits_of(BarKind kind) {
  switch (kind) {
    case BarKind::Io: return {4, 64 * KiB};
    case BarKind::Memory32:
    case BarKind::Memory32Prefetchable: return {16, 2 * GiB};
    case BarKind::Memory64:
    case BarKind::Memory64Prefetchable: return {16, u64{1} << 63};
    case BarKind::Rom: return {2 * KiB, 16 * MiB};
  }
  unreachable();
}

void define_common(ConfigSpace& config, const PciIdentity& identity, PciHeader header) {
  const ConfigRegister rows[] = {
      {.offset = pci::kVendorId, .size = 2, .name = "vid", .reset = identity.vendor},
      {.offset = pci::kDeviceId, .size = 2, .name = "did", .reset = identity.device},
      {.offset = pci::kCommand, .size = 2, .name = "pcicmd", .writable = kCommandWritable},
      {.offset = pci::kStatus,
       .size = 2,
       .name = "pcists",
       .w1c = pci::kStatusErrors,
       .hardware = pci::kStatusInterrupt},
      {.offset = pci::kRevisionId,
       .size = 4,
       .name = "rid_class",
       .reset = identity.revision | identity.class_code << 8},
      {.offset = pci::kCacheLineSize, .name = "cls", .writable = 0xff},
      {.offset = pci::kLatencyTimer, .name = "mlt", .writable = 0xff},
      {.offset = pci::kHeaderType, .name = "hedt", .reset = static_cast<u32>(header)},
      {.offset = pci::kInterruptLine, .name = "intln", .writable = 0xff},
  };
  config.define(rows);
}

}  // namespace

PciFunction::PciFunction(std::string id, const PciIdentity& identity, Device* parent,
                         PciHeader header)
    : Device(std::move(id), parent), identity_(identity), header_(header) {
  define_common(config_, identity, header);
  if (header == PciHeader::Endpoint)
    config_.define({.offset = pci::kSubsystemVendorId,
                    .size = 4,
                    .name = "subsystem",
                    .reset = identity.subsystem_vendor | u32{identity.subsystem} << 16});
}

PciFunction::~PciFunction() {
  if (!bus_) return;
  // The derived chip is gone already; its regions took themselves off the map.
  intx_ = false;
  update_intx(Edge::Drive);
  bus_->detach(*this);
}

Result<void> PciFunction::add_bar(unsigned index, BarKind kind, Region& region) {
  ensure(!bus_ && index < (header_ == PciHeader::Bridge ? 2 : 6) && kind != BarKind::Rom,
         "BARs are declared by number before the function is plugged");
  const u64 size = region.last() + 1;
  const SizeLimits limits = limits_of(kind);
  if (!is_power_of_two(size) || size < limits.least || size > limits.most)
    return fail(Errc::InvalidArgument,
                "Adding BAR {} of {} bytes to {}: the size must be a power of two from {} to {}",
                index, size, id(), limits.least, limits.most);
  const unsigned offset = pci::kBar0 + 4 * index;
  const u64 mask = ~(size - 1);
  bars_[index] = {.kind = kind, .offset = offset, .region = &region, .size = size};
  config_.define({.offset = static_cast<u8>(offset),
                  .size = 4,
                  .name = "bar",
                  .reset = type_bits(kind),
                  .writable = static_cast<u32>(mask)});
  if (is_64bit(kind)) {
    ensure(index < (header_ == PciHeader::Bridge ? 1 : 5), "a 64-bit BAR needs the next one too");
    config_.define({.offset = static_cast<u8>(offset + 4),
                    .size = 4,
                    .name = "bar_upper",
                    .writable = static_cast<u32>(mask >> 32)});
  }
  return {};
}

Result<void> PciFunction::add_rom(Region& region) {
  ensure(!bus_, "the ROM is declared before the function is plugged");
  const u64 size = region.last() + 1;
  const SizeLimits limits = limits_of(BarKind::Rom);
  if (!is_power_of_two(size) || size < limits.least || size > limits.most)
    return fail(Errc::InvalidArgument,
                "Adding a ROM of {} bytes to {}: the size must be a power of two from {} to {}",
                size, id(), limits.least, limits.most);
  const unsigned offset = header_ == PciHeader::Bridge ? pci::kBridgeRomBar : pci::kRomBar;
  bars_[kRomBarIndex] = {.kind = BarKind::Rom, .offset = offset, .region = &region, .size = size};
  config_.define({.offset = static_cast<u8>(offset),
                  .size = 4,
                  .name = "rom",
                  .writable = static_cast<u32>(~(size - 1)) | 1});
  return {};
}

IntxPin PciFunction::interrupt_pin() const {
  return static_cast<IntxPin>(config_.get8(pci::kInterruptPin));
}

void PciFunction::set_interrupt_pin(IntxPin pin) {
  config_.define({.offset = pci::kInterruptPin, .name = "intpn", .reset = static_cast<u32>(pin)});
}

u32 PciFunction::config_read(unsigned offset, unsigned size) {
  config_reading(offset, size);
  return config_.get(offset, size);
}

void PciFunction::config_write(unsigned offset, unsigned size, u32 value) {
  const bool mastered = bus_master();
  config_.write(offset, size, value);
  const bool mastering_changed = bus_master() != mastered;  // whether messages can be sent
  for (PciCapability* capability : capabilities_)
    if (mastering_changed ||
        (offset < capability->offset_ + capability->size_ && capability->offset_ < offset + size))
      capability->config_written();
  update_bars();
  update_intx(Edge::Drive);
  config_written(offset, size);
}

void PciFunction::reset(ResetKind kind) {
  config_.reset();
  intx_ = false;
  for (PciCapability* capability : capabilities_) capability->reset();
  update_bars();
  update_intx(Edge::Drive);
  reset_chip(kind);
}

void PciFunction::describe(StateVisitor& v) {
  v.field("config", config_);
  v.field("intx", intx_);
  for (PciCapability* capability : capabilities_) capability->describe(v);
  describe_chip(v);
}

Result<void> PciFunction::restored() {
  for (PciCapability* capability : capabilities_) TRY(capability->restored());
  update_bars();
  update_intx(Edge::Import);
  return restored_chip();
}

u64 PciFunction::bar_address(const PciBar& bar) const {
  u64 address = config_.get32(bar.offset);
  if (is_64bit(bar.kind)) address |= u64{config_.get32(bar.offset + 4)} << 32;
  return address & ~(bar.size - 1);
}

// Two addresses are taken as "not assigned" although a real card would decode them: zero, where
// BARs stand after reset, and the end of the 32-bit (or 64-bit) space, where the all-ones of the
// sizing protocol put them: neither is ever meant, and both would hide the board's own chips from a
// guest that sizes BARs without disabling them first.
std::optional<u64> PciFunction::decoded_address(const PciBar& bar) const {
  const u16 command = config_.get16(pci::kCommand);
  const bool io = bar.kind == BarKind::Io;
  if (!bar.region || (command & (io ? pci::kCommandIo : pci::kCommandMemory)) == 0) return {};
  if (bar.kind == BarKind::Rom && (config_.get32(bar.offset) & 1) == 0) return {};
  if (in_power_down()) return {};
  const u64 first = bar_address(bar);
  const u64 last = first + (bar.size - 1);
  if (first == 0 || last == 0xffff'ffff || last == ~u64{0}) return {};
  if (io && last > 0xffff) return {};
  return first;
}

void PciFunction::update_bars() {
  const PciRootWiring* wiring = bus_ ? bus_->wiring() : nullptr;
  if (!wiring) return;
  std::optional<Transaction> transaction;
  for (unsigned i = 0; i < kBars; i++) {
    PciBar& bar = bars_[i];
    const std::optional<u64> wanted = decoded_address(bar);
    if (wanted == bar.mapped) continue;
    if (!transaction)
      transaction.emplace(std::initializer_list<AddressSpace*>{&wiring->memory, &wiring->io});
    Region& space = bus_->space(bar.kind == BarKind::Io ? PciSpace::Io : PciSpace::Memory);
    if (bar.mapped) {
      space.unmap(*bar.region);
      trace(kBarUnmapped, id(), i);
    }
    if (wanted) {
      space.map(*wanted, *bar.region, PciBus::kPriority);
      trace(kBarMapped, id(), i, bar.size, *wanted);
    }
    bar.mapped = wanted;
  }
}

void PciFunction::set_intx(bool asserted) {
  intx_ = asserted;
  const u32 status = config_.get16(pci::kStatus) & ~u32{pci::kStatusInterrupt};
  config_.set(pci::kStatus, 2, status | (asserted ? pci::kStatusInterrupt : 0));
  update_intx(Edge::Drive);
}

void PciFunction::update_intx(Edge edge) {
  const bool disabled = (config_.get16(pci::kCommand) & pci::kCommandIntxDisable) != 0;
  const IntxPin pin = interrupt_pin();
  const bool wanted =
      intx_ && !disabled && pin != IntxPin::None && !uses_messages() && !in_power_down();
  if (wanted == intx_driven_ || !bus_ || !bus_->wiring()) return;
  intx_driven_ = wanted;
  const unsigned root_pin = bus_->root_pin(slot(), static_cast<unsigned>(pin) - 1);
  trace(kIntx, id(), root_pin, wanted);
  bus_->pull(root_pin, wanted, edge == Edge::Drive);
}

bool PciFunction::in_power_down() const {
  for (const PciCapability* capability : capabilities_)
    if (capability->powers_down()) return true;
  return false;
}

bool PciFunction::uses_messages() const {
  for (const PciCapability* capability : capabilities_)
    if (capability->replaces_intx()) return true;
  return false;
}

bool PciFunction::bus_master() const {
  return bus_ && (config_.get16(pci::kCommand) & pci::kCommandBusMaster) != 0 && !in_power_down() &&
         bus_->masters_upstream();
}

AccessStatus PciFunction::dma_read(GuestAddr addr, Bytes to) const {
  if (!bus_master()) return AccessStatus::Refused;
  return bus_->wiring()->memory.dma_read(addr, to);
}

AccessStatus PciFunction::dma_write(GuestAddr addr, ConstBytes from) {
  if (!bus_master()) return AccessStatus::Refused;
  return bus_->wiring()->memory.dma_write(addr, from);
}

PciCapability::PciCapability(PciFunction& function, u8 id, unsigned size)
    : function_(function), offset_(function.config_.add_capability(id, size).value()), size_(size) {
  function_.capabilities_.push_back(this);
}

PciCapability::~PciCapability() { std::erase(function_.capabilities_, this); }

bool PciCapability::can_send() const { return function_.bus_master(); }

IrqStatus PciCapability::send(const MsiMessage& message) {
  if (!function_.bus_master()) return IrqStatus::Ignored;
  MsiSink* sink = function_.bus_->wiring()->msi;
  return sink ? sink->send_msi(message) : IrqStatus::Ignored;
}

}  // namespace menura
