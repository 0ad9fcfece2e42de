#include "hw/pci/pci_msix.h"

#include "base/bits.h"
#include "hw/pci/pci_regs.h"

namespace menura {

namespace {
constexpr unsigned kCapabilitySize = 12;
constexpr u32 kEntrySize = 16;
// Message Control.
constexpr u16 kFunctionMask = 1 << 14;
constexpr u16 kEnable = 1 << 15;
// Vector Control.
constexpr u32 kMasked = 1;

// PCI 3.0 §6.8.2: software uses aligned dwords and quadwords only; the rest is undefined.
constexpr AccessRules kRules{
    .valid_min = 4, .valid_max = 8, .valid_unaligned = false, .handler_min = 4, .handler_max = 4};

u64 pba_size(unsigned vectors) { return align_up(u64{vectors}, u64{64}) / 8; }
}  // namespace

PciMsiX::PciMsiX(PciFunction& function, const PciMsiXConfig& config, Region& container)
    : PciCapability(function, pci::kCapMsiX, kCapabilitySize),
      config_(config),
      table_region_(
          Region::mmio("msix-table", u64{config.vectors} * kEntrySize, table_window_, kRules)),
      pba_region_(Region::mmio("msix-pba", pba_size(config.vectors), pba_window_, kRules)),
      audience_(config.vectors),
      table_(config.vectors),
      pending_(pba_size(config.vectors) / 8) {
  ensure(config.vectors >= 1 && config.vectors <= 2048 && config.bar < 6, "MSI-X limits");
  ensure(config.table_offset % 8 == 0 && config.pba_offset % 8 == 0, "MSI-X alignment");
  const auto at = [&](unsigned relative) { return static_cast<u8>(offset() + relative); };
  const ConfigRegister rows[] = {
      {.offset = at(2),
       .size = 2,
       .name = "msix_control",
       .reset = config.vectors - 1,
       .writable = kEnable | kFunctionMask},
      {.offset = at(4), .size = 4, .name = "msix_table", .reset = config.table_offset | config.bar},
      {.offset = at(8), .size = 4, .name = "msix_pba", .reset = config.pba_offset | config.bar},
  };
  this->config().define(rows);
  container.map(config.table_offset, table_region_);
  container.map(config.pba_offset, pba_region_);
}

bool PciMsiX::enabled() const { return (config().get16(offset() + 2) & kEnable) != 0; }

MsiMessage PciMsiX::message(unsigned vector) const {
  return {.address = table_[vector].address, .data = table_[vector].data};
}

bool PciMsiX::masked(unsigned vector) const {
  return (table_[vector].control & kMasked) != 0 ||
         (config().get16(offset() + 2) & kFunctionMask) != 0;
}

bool PciMsiX::pending(unsigned vector) const {
  return test_bit(pending_[vector / 64], vector % 64);
}

bool PciMsiX::open(unsigned vector) const { return enabled() && can_send() && !masked(vector); }

IrqStatus PciMsiX::notify(unsigned vector) {
  ensure(vector < config_.vectors, "an MSI-X vector of this function");
  if (!enabled()) return IrqStatus::Ignored;
  if (!masked(vector)) return send(message(vector));
  const bool before = pending(vector);
  pending_[vector / 64] |= bit(vector % 64);
  return before ? IrqStatus::Coalesced : IrqStatus::Ignored;
}

void PciMsiX::clear_pending(unsigned vector) { pending_[vector / 64] &= ~bit(vector % 64); }

void PciMsiX::update(unsigned vector) {
  const bool is_open = open(vector);
  audience_.tell(vector, is_open ? std::optional(message(vector)) : std::nullopt);
  if (!is_open || !pending(vector)) return;
  clear_pending(vector);
  (void)send(message(vector));
}

void PciMsiX::update_all() {
  for (unsigned vector = 0; vector < config_.vectors; vector++) update(vector);
}

void PciMsiX::reset() {
  table_.assign(config_.vectors, Entry{});
  pending_.assign(pending_.size(), 0);
  update_all();
}

u64 PciMsiX::read_table(Access access) {
  const Entry& entry = table_[access.offset / kEntrySize];
  switch (access.offset % kEntrySize) {
    case 0: return static_cast<u32>(entry.address);
    case 4: return entry.address >> 32;
    case 8: return entry.data;
    default: return entry.control;
  }
}

void PciMsiX::write_table(Access access, u64 value) {
  const unsigned vector = static_cast<unsigned>(access.offset / kEntrySize);
  Entry& entry = table_[vector];
  switch (access.offset % kEntrySize) {
    // The two lowest bits of the address are reserved and read zero.
    case 0: entry.address = with_bits(entry.address, 31, 0, value & 0xffff'fffc); break;
    case 4: entry.address = with_bits(entry.address, 63, 32, value); break;
    case 8: entry.data = static_cast<u32>(value); break;
    default: entry.control = static_cast<u32>(value) & kMasked; break;
  }
  update(vector);
}

u64 PciMsiX::read_pba(Access access) {
  return static_cast<u32>(pending_[access.offset / 8] >> (8 * (access.offset % 8)));
}

void PciMsiX::Entry::describe(StateVisitor& v) {
  v.field("address", address);
  v.field("data", data);
  v.field("control", control);
}

void PciMsiX::describe(StateVisitor& v) {
  v.field("msix_table", table_);
  v.field("msix_pending", pending_);
}

Result<void> PciMsiX::restored() {
  if (table_.size() != config_.vectors || pending_.size() != pba_size(config_.vectors) / 8)
    return fail(Errc::Corrupt, "Restoring MSI-X of {}: {} vectors, this function has {}",
                function().id(), table_.size(), config_.vectors);
  for (unsigned vector = 0; vector < config_.vectors; vector++)
    audience_.tell(vector, open(vector) ? std::optional(message(vector)) : std::nullopt);
  return {};
}

}  // namespace menura
