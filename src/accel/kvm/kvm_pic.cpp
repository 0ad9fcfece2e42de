#include "accel/kvm/kvm_chips.h"

namespace menura {

namespace {

constexpr u8 kElcrMaskMaster = 0xf8, kElcrMaskSlave = 0xde;  // PIIX3 §2.5: not IRQ 0, 1, 2, 8, 13

}  // namespace

kvm_pic_state to_kernel(const PicState& s, PicRole role) {
  kvm_pic_state k{};
  k.last_irr = s.levels;
  k.irr = s.irr;
  k.imr = s.imr;
  k.isr = s.isr;
  k.priority_add = s.highest;
  k.irq_base = s.vector_base;
  k.read_reg_select = s.read_isr;
  k.poll = s.poll;
  k.special_mask = s.special_mask;
  k.init_state = static_cast<u8>(s.expect);  // both count OCW1, ICW2, ICW3, ICW4
  k.auto_eoi = s.auto_eoi;
  k.rotate_on_auto_eoi = s.rotate_on_auto_eoi;
  k.special_fully_nested_mode = s.special_fully_nested;
  k.init4 = s.icw4_needed;
  k.elcr = s.elcr;
  k.elcr_mask = role == PicRole::Master ? kElcrMaskMaster : kElcrMaskSlave;
  return k;
}

PicState from_kernel(const kvm_pic_state& k) {
  return {.levels = k.last_irr,
          .irr = k.irr,
          .isr = k.isr,
          .imr = k.imr,
          .elcr = k.elcr,
          .highest = static_cast<u8>(k.priority_add & 7),
          .vector_base = static_cast<u8>(k.irq_base & 0xf8),
          .expect = static_cast<PicState::Expect>(k.init_state & 3),
          .icw4_needed = k.init4 != 0,
          .read_isr = k.read_reg_select != 0,
          .poll = k.poll != 0,
          .special_mask = k.special_mask != 0,
          .auto_eoi = k.auto_eoi != 0,
          .rotate_on_auto_eoi = k.rotate_on_auto_eoi != 0,
          .special_fully_nested = k.special_fully_nested_mode != 0};
}

Result<void> KvmPic::read() {
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
  TRY(vm_.fd().require(KVM_GET_IRQCHIP, &chip, "Reading the master PIC"));
  master_ = from_kernel(chip.chip.pic);
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  TRY(vm_.fd().require(KVM_GET_IRQCHIP, &chip, "Reading the slave PIC"));
  slave_ = from_kernel(chip.chip.pic);
  return {};
}

Result<void> KvmPic::write() {
  kvm_irqchip chip{};
  chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
  chip.chip.pic = to_kernel(master_, PicRole::Master);
  TRY(vm_.fd().require(KVM_SET_IRQCHIP, &chip, "Setting the master PIC"));
  chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
  chip.chip.pic = to_kernel(slave_, PicRole::Slave);
  TRY(vm_.fd().require(KVM_SET_IRQCHIP, &chip, "Setting the slave PIC"));
  return {};
}

void KvmPic::reset(ResetKind) {
  master_ = slave_ = {};
  if (Result<void> done = write(); !done) vm_.fail_machine(std::move(done.error()));
}

void KvmPic::describe(StateVisitor& v) {
  if (!v.loading())
    if (Result<void> done = read(); !done) v.fail(std::move(done.error()));
  v.field("master", master_);
  v.field("slave", slave_);
}

Result<void> KvmPic::restored() {
  TRY(master_.check());
  TRY(slave_.check());
  return write();
}

}  // namespace menura
