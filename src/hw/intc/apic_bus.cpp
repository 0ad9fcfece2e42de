#include "hw/intc/apic_bus.h"

#include <algorithm>

#include "base/bits.h"
#include "base/trace.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"

namespace menura {

TRACE_EVENT(kApicMessage, "apic.message",
            "vector {:#04x} delivery {} destination {:#x} logical {}");

namespace {

constexpr u64 kMessagesBase = 0xfee0'0000;
constexpr u64 kMessagesSize = 0x10'0000;

IrqStatus better(IrqStatus a, IrqStatus b) { return std::max(a, b); }

}  // namespace

ApicMessage ApicMessage::from_msi(const MsiMessage& msi, bool extended) {
  u32 destination = static_cast<u32>(bits(msi.address, 19, 12));
  const u32 high = extended ? static_cast<u32>(bits(msi.address, 11, 5)) : 0;
  if (destination == 0xff && high == 0)
    destination = kBroadcast;
  else
    destination |= high << 8;
  return {.destination = destination,
          .logical = test_bit(msi.address, 2),
          .delivery = static_cast<ApicDelivery>(bits(msi.data, 10, 8)),
          .vector = static_cast<u8>(msi.data),
          .level_triggered = test_bit(msi.data, 15)};
}

ApicBus::ApicBus() : messages_(Region::mmio("apic-msi", kMessagesSize, *this)) {}

void ApicBus::add(Lapic& lapic) {
  const bool fresh = by_id_.emplace(lapic.apic_id(), &lapic).second;
  ensure(fresh, "every local APIC has an ID of its own");
  lapics_.push_back(&lapic);
}

void ApicBus::remove(Lapic& lapic) {
  by_id_.erase(lapic.apic_id());
  std::erase(lapics_, &lapic);
}

void ApicBus::find_targets(const ApicMessage& message) {
  targets_.clear();
  const u32 destination = message.destination;
  const auto consider = [&](Lapic* lapic) {
    if (lapic->matches(message)) targets_.push_back(lapic);
  };
  if (destination == ApicMessage::kBroadcast || (message.logical && destination <= 0xff)) {
    std::ranges::for_each(lapics_, consider);
    return;
  }
  const auto consider_id = [&](u32 id) {
    if (const auto found = by_id_.find(id); found != by_id_.end()) consider(found->second);
  };
  if (!message.logical) return consider_id(destination);
  // A cluster of x2APICs: their logical IDs follow from their IDs (§11.12.10.2).
  for (u32 member = 0; member < 16; member++)
    if (test_bit(destination, member)) consider_id(bits(destination, 31, 16) << 4 | member);
}

IrqStatus ApicBus::deliver(const ApicMessage& message) {
  trace(kApicMessage, message.vector, static_cast<int>(message.delivery), message.destination,
        message.logical);
  find_targets(message);
  if (message.delivery == ApicDelivery::LowestPriority) return deliver_lowest_priority(message);
  IrqStatus status = IrqStatus::Ignored;
  for (Lapic* lapic : targets_) status = better(status, lapic->accept(message));
  return status;
}

IrqStatus ApicBus::deliver_lowest_priority(const ApicMessage& message) {
  std::erase_if(targets_, [](const Lapic* lapic) { return !lapic->software_enabled(); });
  if (targets_.empty()) return IrqStatus::Ignored;
  for (Lapic* lapic : targets_)
    if (lapic->is_focus(message.vector)) return lapic->accept(message);
  u8 lowest = 0xff;
  for (const Lapic* lapic : targets_) lowest = std::min(lowest, lapic->arbitration_priority());
  std::erase_if(targets_,
                [&](const Lapic* lapic) { return lapic->arbitration_priority() != lowest; });
  return targets_[message.vector % targets_.size()]->accept(message);
}

IrqStatus ApicBus::deliver_to_all(const ApicMessage& message, const Lapic* except) {
  targets_.clear();
  for (Lapic* lapic : lapics_)
    if (lapic != except && lapic->state().enabled()) targets_.push_back(lapic);
  if (message.delivery == ApicDelivery::LowestPriority) return deliver_lowest_priority(message);
  IrqStatus status = IrqStatus::Ignored;
  for (Lapic* lapic : targets_) status = better(status, lapic->accept(message));
  return status;
}

IrqStatus ApicBus::send_msi(const MsiMessage& message) {
  if (message.address < kMessagesBase || message.address >= kMessagesBase + kMessagesSize)
    return IrqStatus::Ignored;
  const bool deasserts = test_bit(message.data, 15) && !test_bit(message.data, 14);
  if (deasserts) return IrqStatus::Ignored;
  return deliver(ApicMessage::from_msi(message, extended_destinations_));
}

void ApicBus::eoi(u8 vector) {
  for (Ioapic* ioapic : ioapics_) ioapic->eoi(vector);
}

void ApicBus::taken(u8 vector) {
  for (Ioapic* ioapic : ioapics_) ioapic->taken(vector);
}

IrqStatus ApicBus::set_irq(unsigned pin, bool level) {
  if (pin > 1) return IrqStatus::Ignored;
  for (Lapic* lapic : lapics_) lapic->set_lint(pin, level);
  return IrqStatus::Delivered;
}

u64 ApicBus::read(Access) { return ~u64{0}; }

void ApicBus::write(Access access, u64 value) {
  // A message is an aligned dword.
  if (access.size == 4 && access.offset % 4 == 0)
    send_msi({.address = kMessagesBase + access.offset, .data = static_cast<u32>(value)});
}

}  // namespace menura
