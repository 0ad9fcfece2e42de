#include "hw/acpi/pci_hotplug.h"

#include "base/bits.h"
#include "hw/pci/pci_function.h"

namespace menura {

namespace {

enum : u64 { kCome = 0x0, kGoing = 0x4, kEject = 0x8, kRemovable = 0xc };

u32 slot_bit(const PciFunction& function) { return static_cast<u32>(bit(function.slot())); }

}  // namespace

AcpiPciHotplug::AcpiPciHotplug(std::string id, PciBus& bus, std::function<void()> raise_event,
                               std::function<void(PciFunction&)> ejected,
                               std::function<bool(PciFunction&)> removable)
    : Device(std::move(id)),
      bus_(bus),
      raise_event_(std::move(raise_event)),
      ejected_(std::move(ejected)),
      removable_(std::move(removable)) {
  bus_.set_hotplug(this);
}

AcpiPciHotplug::~AcpiPciHotplug() { bus_.set_hotplug(nullptr); }

u64 AcpiPciHotplug::read(Access access) {
  switch (access.offset) {
    case kCome: return std::exchange(come_, 0);
    case kGoing: return std::exchange(going_, 0);
    case kRemovable: return removable_slots();
    default: return 0;
  }
}

void AcpiPciHotplug::write(Access access, u64 value) {
  if (access.offset == kEject) eject(static_cast<u32>(value));
}

void AcpiPciHotplug::plugged(PciFunction& function) {
  come_ |= slot_bit(function);
  raise_event_();
}

bool AcpiPciHotplug::request_eject(PciFunction& function) {
  going_ |= slot_bit(function);
  asked_ |= slot_bit(function);
  raise_event_();
  return false;
}

u32 AcpiPciHotplug::removable_slots() const {
  u32 slots = 0;
  for (PciFunction* function : bus_.functions())
    if (removable_(*function)) slots |= slot_bit(*function);
  return slots;
}

void AcpiPciHotplug::eject(u32 slots) {
  slots &= asked_ & removable_slots();
  asked_ &= ~slots;
  for (PciFunction* function : bus_.functions()) {
    if ((slots & slot_bit(*function)) == 0 || !removable_(*function)) continue;
    bus_.remove(*function);
    ejected_(*function);
  }
}

void AcpiPciHotplug::reset(ResetKind) { come_ = going_ = asked_ = 0; }

void AcpiPciHotplug::describe(StateVisitor& v) {
  v.field("come", come_);
  v.field("going", going_);
  v.field("asked", asked_);
}

}  // namespace menura
