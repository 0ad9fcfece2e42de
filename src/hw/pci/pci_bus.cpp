#include "hw/pci/pci_bus.h"

#include "base/bits.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_regs.h"

namespace menura {

PciBus::PciBus(std::string name, const PciRootWiring& wiring)
    : name_(std::move(name)),
      wiring_(wiring),
      memory_(wiring.memory_window),
      io_(wiring.io_window) {}

PciBus::PciBus(std::string name, PciFunction& bridge, Region& memory, Region& io)
    : name_(std::move(name)), bridge_(&bridge), memory_(memory), io_(io) {}

PciBus::~PciBus() {
  for (PciFunction* function : functions()) function->bus_ = nullptr;
}

const PciRootWiring* PciBus::wiring() const {
  const PciBus* bus = this;
  while (bus && bus->bridge_) bus = bus->bridge_->bus();
  return bus ? &*bus->wiring_ : nullptr;
}

u8 PciBus::number() const { return bridge_ ? bridge_->config().get8(pci::kSecondaryBus) : 0; }

Result<void> PciBus::add(PciFunction& function, u8 devfn) {
  ensure(!function.bus_ && wiring(), "a function is on one bus, below plugged bridges");
  if (devfn >> 3 >= slots_)
    return fail(Errc::OutOfRange, "Plugging {} into {} at slot {:x}: a link has slot 0 alone",
                function.id(), name_, devfn >> 3);
  if (functions_[devfn])
    return fail(Errc::Exists, "Plugging {} into {} at {:02x}.{}: {} is there", function.id(), name_,
                devfn >> 3, devfn & 7, functions_[devfn]->id());
  functions_[devfn] = &function;
  function.bus_ = this;
  function.devfn_ = devfn;
  show_multifunction(devfn >> 3);
  function.update_bars();
  function.update_intx(PciFunction::Edge::Drive);
  return {};
}

void PciBus::remove(PciFunction& function) {
  if (PciBus* behind = function.secondary_bus())
    for (PciFunction* below : behind->functions()) behind->remove(*below);
  function.reset(ResetKind::PowerOn);
  detach(function);
}

void PciBus::detach(PciFunction& function) {
  ensure(function.bus_ == this, "only the bus that holds a function lets it go");
  functions_[function.devfn_] = nullptr;
  function.bus_ = nullptr;
  show_multifunction(function.slot());
}

void PciBus::show_multifunction(unsigned slot) {
  PciFunction* first = functions_[devfn(slot, 0)];
  if (!first) return;
  u32 type = static_cast<u32>(first->header_);
  if (first->more_functions_) type |= pci::kHeaderMultifunction;
  for (unsigned f = 1; f < kFunctions; f++)
    if (functions_[devfn(slot, f)]) type |= pci::kHeaderMultifunction;
  first->config_.define({.offset = pci::kHeaderType, .name = "hedt", .reset = type});
}

Result<unsigned> PciBus::free_slot(unsigned first) const {
  for (unsigned slot = slots_ == 1 ? 0 : first; slot < slots_; slot++) {
    bool free = true;
    for (unsigned f = 0; f < kFunctions; f++) free &= functions_[devfn(slot, f)] == nullptr;
    if (free) return slot;
  }
  return fail(Errc::NoSpace, "Finding a free slot on {}: all are taken", name_);
}

std::vector<PciFunction*> PciBus::functions() const {
  std::vector<PciFunction*> present;
  for (PciFunction* function : functions_)
    if (function) present.push_back(function);
  return present;
}

PciFunction* PciBus::find(PciAddress address) {
  if (held_) return nullptr;
  if (address.bus == number()) return functions_[address.devfn];
  for (PciFunction* bridge : functions_) {
    PciBus* behind = bridge ? bridge->secondary_bus() : nullptr;
    if (behind && address.bus >= behind->number() &&
        address.bus <= bridge->config().get8(pci::kSubordinateBus))
      return behind->find(address);
  }
  return nullptr;
}

u32 PciBus::config_read(PciAddress address, unsigned offset, unsigned size) {
  PciFunction* function = find(address);
  return function ? function->config_read(offset, size) : static_cast<u32>(low_mask(8 * size));
}

void PciBus::config_write(PciAddress address, unsigned offset, unsigned size, u32 value) {
  if (PciFunction* function = find(address)) function->config_write(offset, size, value);
}

void PciBus::reset(ResetKind kind) {
  for (PciFunction* function : functions()) {
    function->reset(kind);
    if (PciBus* behind = function->secondary_bus()) behind->reset(kind);
  }
}

unsigned PciBus::root_pin(unsigned slot, unsigned pin) const {
  const PciBus* bus = this;
  while (bus->bridge_) {
    pin = (slot + pin) % kPins;  // PCI-to-PCI Bridge Architecture 1.2 table 9-1
    slot = bus->bridge_->slot();
    bus = bus->bridge_->bus();
  }
  return bus->wiring_->intx_route ? bus->wiring_->intx_route(slot, pin) : (slot + pin) % kPins;
}

void PciBus::pull(unsigned root_pin, bool asserted, bool tell) {
  PciBus* bus = this;
  while (bus->bridge_) bus = bus->bridge_->bus();
  unsigned& pulls = bus->asserted_[root_pin];
  const bool before = pulls != 0;
  pulls = asserted ? pulls + 1 : pulls - 1;
  if (tell && bus->wiring_->intx && before != (pulls != 0))
    (void)bus->wiring_->intx->set_irq(root_pin, pulls != 0);
}

bool PciBus::masters_upstream() const {
  for (const PciBus* bus = this; bus->bridge_; bus = bus->bridge_->bus())
    if (!bus->bridge_->bus() ||
        (bus->bridge_->config().get16(pci::kCommand) & pci::kCommandBusMaster) == 0)
      return false;
  return true;
}

}  // namespace menura
