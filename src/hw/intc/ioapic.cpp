#include "hw/intc/ioapic.h"

#include "base/bits.h"
#include "base/trace.h"

namespace menura {

TRACE_EVENT(kIoapicEntry, "ioapic.entry", "pin {} {:#018x}");
TRACE_EVENT(kIoapicEoi, "ioapic.eoi", "vector {:#04x}");

namespace {

// Offsets into the page; the chip decodes bits 7:0.
constexpr unsigned kIoregsel = 0x00;
constexpr unsigned kIowin = 0x10;
constexpr unsigned kEoi = 0x40;
// Registers behind the window.
constexpr unsigned kId = 0;
constexpr unsigned kVersion = 1;
constexpr unsigned kArbitration = 2;
constexpr unsigned kTable = 0x10;

constexpr u64 kReadOnly = IoapicState::kDeliveryStatus | IoapicState::kRemoteIrr;
constexpr u64 kEntryBits = 0xff00'0000'0001'ffff;
constexpr u8 kVersionWithEoi = 0x20;

u8 vector_of(u64 entry) { return static_cast<u8>(entry); }

// Only fixed and lowest-priority messages can be level-triggered: nothing ends the others.
bool is_level(u64 entry) {
  return (entry & IoapicState::kLevelTriggered) && bits(entry, 10, 8) <= 1;
}

}  // namespace

void IoapicState::describe(StateVisitor& v) {
  v.field("id", id);
  v.field("ioregsel", ioregsel);
  v.field("levels", levels);
  v.field("irr", irr);
  v.field("ioredtbl", ioredtbl);
}

Ioapic::Ioapic(std::string id, Config config, MsiSink& apics)
    : Device(std::move(id)),
      config_(config),
      apics_(apics),
      registers_(Region::mmio("ioapic", 0x1000, *this)) {
  state_.ioredtbl.fill(IoapicState::kMasked);
}

void Ioapic::reset(ResetKind) {
  // The pins belong to the devices: they lower them in their own reset.
  state_ = IoapicState{.levels = state_.levels};
  state_.ioredtbl.fill(IoapicState::kMasked);
  for (unsigned pin = 0; changed_ && pin < IoapicState::kPins; pin++) changed_(pin);
}

void Ioapic::describe(StateVisitor& v) { v.field("state", state_); }

Result<void> Ioapic::restored() {
  for (u64& entry : state_.ioredtbl) entry &= kEntryBits;
  for (unsigned pin = 0; changed_ && pin < IoapicState::kPins; pin++) changed_(pin);
  return {};
}

MsiMessage Ioapic::message_of(u64 entry) {
  const u64 destination = bits(entry, 63, 56);
  const u64 logical = bits(entry, 11, 11);
  const u64 redirection_hint = bits(entry, 10, 8) == 1;
  constexpr u32 kAssert = 1 << 14;
  return {.address = 0xfee0'0000 | destination << 12 | redirection_hint << 3 | logical << 2,
          .data = static_cast<u32>(entry & 0x7ff) | kAssert | (is_level(entry) ? 1u << 15 : 0)};
}

IrqStatus Ioapic::set_irq(unsigned pin, bool level) {
  if (pin >= IoapicState::kPins) return IrqStatus::Ignored;
  const u32 mask = 1u << pin;
  const bool rises = level && !(state_.levels & mask);
  state_.levels = level ? state_.levels | mask : state_.levels & ~mask;
  if (is_level(state_.ioredtbl[pin])) {
    state_.irr = merge(state_.irr, state_.levels, mask);
    return level ? service(pin) : IrqStatus::Ignored;
  }
  // "Edge-sensitive interrupts signaled on a masked interrupt pin are ignored" (§3.2.4).
  return rises ? service(pin) : IrqStatus::Ignored;
}

IrqStatus Ioapic::service(unsigned pin) {
  u64& entry = state_.ioredtbl[pin];
  if (entry & IoapicState::kMasked) return IrqStatus::Ignored;
  if (!is_level(entry)) return apics_.send_msi(message_of(entry));
  if (entry & IoapicState::kRemoteIrr) return IrqStatus::Coalesced;
  const IrqStatus status = apics_.send_msi(message_of(entry));
  if (status != IrqStatus::Ignored) entry |= IoapicState::kRemoteIrr;
  return status;
}

void Ioapic::eoi(u8 vector) {
  trace(kIoapicEoi, vector);
  for (unsigned pin = 0; pin < IoapicState::kPins; pin++) {
    u64& entry = state_.ioredtbl[pin];
    if (!is_level(entry) || vector_of(entry) != vector || !(entry & IoapicState::kRemoteIrr))
      continue;
    entry &= ~IoapicState::kRemoteIrr;
    if (state_.irr & (1u << pin)) service(pin);
  }
}

void Ioapic::on_taken(unsigned pin, std::function<void()> notify) {
  watched_pin_ = pin;
  taken_ = std::move(notify);
}

void Ioapic::taken(u8 vector) {
  if (!taken_) return;
  const u64 entry = state_.ioredtbl[watched_pin_];
  if (vector_of(entry) == vector && !is_level(entry) && !(entry & IoapicState::kMasked)) taken_();
}

u64 Ioapic::read(Access access) {
  switch (access.offset & 0xff) {
    case kIoregsel: return state_.ioregsel;
    case kIowin: return read_register() & low_mask(8 * access.size);
    default: return 0;
  }
}

void Ioapic::write(Access access, u64 value) {
  switch (access.offset & 0xff) {
    case kIoregsel: state_.ioregsel = static_cast<u8>(value); return;
    case kIowin: write_register(static_cast<u32>(value & low_mask(8 * access.size))); return;
    case kEoi:
      if (config_.version >= kVersionWithEoi) eoi(static_cast<u8>(value));
      return;
    default: return;
  }
}

u32 Ioapic::read_register() const {
  const unsigned reg = state_.ioregsel;
  switch (reg) {
    case kId:
    case kArbitration: return static_cast<u32>(state_.id) << 24;
    case kVersion: return (IoapicState::kPins - 1) << 16 | config_.version;
  }
  if (reg < kTable || reg >= kTable + 2 * IoapicState::kPins) return 0;
  const u64 entry = state_.ioredtbl[(reg - kTable) / 2];
  return static_cast<u32>(reg & 1 ? entry >> 32 : entry);
}

void Ioapic::write_register(u32 value) {
  const unsigned reg = state_.ioregsel;
  if (reg == kId) {
    state_.id = bits(value, 27, 24);
  } else if (reg >= kTable && reg < kTable + 2 * IoapicState::kPins) {
    const unsigned pin = (reg - kTable) / 2;
    const u64 entry = state_.ioredtbl[pin];
    write_entry(pin, reg & 1 ? with_bits(entry, 63, 32, value) : with_bits(entry, 31, 0, value));
  }
}

void Ioapic::write_entry(unsigned pin, u64 fresh) {
  u64& entry = state_.ioredtbl[pin];
  entry = merge(entry, fresh, kEntryBits & ~kReadOnly);
  // An edge has no remote IRR. Systems without the EOI register end an interrupt by going through
  // edge mode.
  if (!is_level(entry)) entry &= ~IoapicState::kRemoteIrr;
  const u32 mask = 1u << pin;
  state_.irr = merge(state_.irr, is_level(entry) ? state_.levels : 0, mask);
  trace(kIoapicEntry, pin, entry);
  if (changed_) changed_(pin);
  if (state_.irr & mask) service(pin);
}

}  // namespace menura
