#include <algorithm>

#include "accel/kvm/kvm_chips.h"

namespace menura {

namespace {

constexpr u64 kBaseAddress = 0xfec0'0000;

}  // namespace

kvm_ioapic_state to_kernel(const IoapicState& s, u64 base_address) {
  kvm_ioapic_state k{};
  k.base_address = base_address;
  k.ioregsel = s.ioregsel;
  k.id = s.id;
  k.irr = s.irr;
  for (size_t i = 0; i < IoapicState::kPins; i++) k.redirtbl[i].bits = s.ioredtbl[i];
  return k;
}

IoapicState from_kernel(const kvm_ioapic_state& k) {
  IoapicState s;
  s.id = static_cast<u8>(k.id & 15);
  s.ioregsel = static_cast<u8>(k.ioregsel);
  s.irr = k.irr;
  s.levels = k.irr;
  for (size_t i = 0; i < IoapicState::kPins; i++) s.ioredtbl[i] = k.redirtbl[i].bits;
  return s;
}

void KvmIoapic::reset(ResetKind) {
  state_ = {};
  state_.ioredtbl.fill(IoapicState::kMasked);
  if (Result<void> done = restored(); !done) vm_.fail_machine(std::move(done.error()));
}

void KvmIoapic::describe(StateVisitor& v) {
  if (!v.loading()) {
    kvm_irqchip chip{};
    chip.chip_id = KVM_IRQCHIP_IOAPIC;
    if (auto done = vm_.fd().require(KVM_GET_IRQCHIP, &chip, "Reading the IOAPIC"); !done)
      v.fail(std::move(done.error()));
    state_ = from_kernel(chip.chip.ioapic);
  }
  v.field("state", state_);
}

Result<void> KvmIoapic::restored() {
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_IOAPIC;
  chip.chip.ioapic = to_kernel(state_, kBaseAddress);
  TRY(vm_.fd().require(KVM_SET_IRQCHIP, &chip, "Setting the IOAPIC"));
  return {};
}

}  // namespace menura
