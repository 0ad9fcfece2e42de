#include <algorithm>
#include <cstring>

#include "accel/kvm/kvm_chips.h"
#include "accel/kvm/kvm_vcpu.h"
#include "base/bits.h"

namespace menura {

namespace {

// Register offsets, SDM vol. 3 table 11-1.
enum Register : u32 {
  kId = 0x20,
  kTpr = 0x80,
  kLdr = 0xd0,
  kDfr = 0xe0,
  kSvr = 0xf0,
  kIsr = 0x100,
  kTmr = 0x180,
  kIrr = 0x200,
  kEsr = 0x280,
  kIcrLow = 0x300,
  kIcrHigh = 0x310,
  kTimerInitial = 0x380,
  kTimerCurrent = 0x390,
  kTimerDivide = 0x3e0,
};
// In the order of LapicState::Lvt: timer, thermal, performance, LINT0, LINT1, error.
constexpr u32 kLvt[LapicState::kLvts] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
constexpr u32 kLvtMasked = 1u << 16;
constexpr u32 kLvtExtint = 7u << 8;
constexpr u32 kTscDeadlineMsr = 0x6e0;

void put(kvm_lapic_state& k, u32 offset, u32 value) {
  std::memcpy(k.regs + offset, &value, sizeof value);
}

u32 get(const kvm_lapic_state& k, u32 offset) {
  u32 value = 0;
  std::memcpy(&value, k.regs + offset, sizeof value);
  return value;
}

void put_vectors(kvm_lapic_state& k, u32 offset, const VectorSet& set) {
  for (u32 i = 0; i < 8; i++) put(k, offset + 16 * i, set.words[i]);
}

VectorSet get_vectors(const kvm_lapic_state& k, u32 offset) {
  VectorSet set;
  for (u32 i = 0; i < 8; i++) set.words[i] = get(k, offset + 16 * i);
  return set;
}

}  // namespace

void to_kernel(const LapicState& s, i64 now_ns, kvm_lapic_state& k) {
  put(k, kId, s.x2apic() ? s.id : s.id << 24);
  put(k, kTpr, s.tpr);
  put(k, kLdr, s.ldr);
  put(k, kDfr, s.dfr);
  put(k, kSvr, s.svr);
  put(k, kEsr, s.esr);
  put(k, kIcrLow, static_cast<u32>(s.icr));
  put(k, kIcrHigh, static_cast<u32>(s.icr >> 32));
  for (size_t i = 0; i < LapicState::kLvts; i++) put(k, kLvt[i], s.lvt[i]);
  put_vectors(k, kIsr, s.isr);
  put_vectors(k, kTmr, s.tmr);
  put_vectors(k, kIrr, s.irr);
  put(k, kTimerInitial, s.timer_initial);
  put(k, kTimerCurrent, s.timer_current(now_ns));
  put(k, kTimerDivide, s.timer_divide);
}

LapicState from_kernel(const kvm_lapic_state& k, u64 apic_base, u64 tsc_deadline, i64 now_ns) {
  LapicState s;
  s.apic_base = apic_base;
  s.id = s.x2apic() ? get(k, kId) : get(k, kId) >> 24;
  s.tpr = get(k, kTpr);
  s.ldr = get(k, kLdr);
  s.dfr = get(k, kDfr);
  s.svr = get(k, kSvr);
  s.esr = get(k, kEsr);
  s.icr = get(k, kIcrLow) | u64{get(k, kIcrHigh)} << 32;
  for (size_t i = 0; i < LapicState::kLvts; i++) s.lvt[i] = get(k, kLvt[i]);
  s.isr = get_vectors(k, kIsr);
  s.tmr = get_vectors(k, kTmr);
  s.irr = get_vectors(k, kIrr);
  s.timer_initial = get(k, kTimerInitial);
  s.timer_divide = get(k, kTimerDivide);
  const u32 current = std::min(get(k, kTimerCurrent), s.timer_initial);
  s.timer_start_ns = now_ns - i64{s.timer_initial - current} * s.timer_divisor();
  s.timer_fired =
      s.timer_initial != 0 && current == 0 && s.timer_mode() == LapicState::TimerMode::OneShot;
  s.tsc_deadline = tsc_deadline;
  return s;
}

// The bootstrap CPU's LINT0 lets the PIC through, as after KVM's own reset.
void KvmLapic::reset(ResetKind) {
  x86::State cpu;
  vcpu_.get(cpu);
  state_ = {.apic_base = cpu.apic_base, .id = vcpu_.config().apic_id};
  state_.dfr = 0xffff'ffff;
  state_.svr = 0xff;
  state_.lvt.fill(kLvtMasked);
  if (vcpu_.config().index == 0) state_.lvt[LapicState::kLint0] = kLvtExtint;
  if (Result<void> done = restored(); !done) vcpu_.fail_machine(std::move(done.error()));
}

void KvmLapic::describe(StateVisitor& v) {
  if (!v.loading()) {
    x86::State cpu;
    vcpu_.get(cpu);
    kvm_lapic_state k{};
    if (auto done = vcpu_.fd().require(KVM_GET_LAPIC, &k, "Reading a LAPIC"); !done)
      v.fail(std::move(done.error()));
    state_ = from_kernel(k, cpu.apic_base, cpu.tsc_deadline, time_.now_ns());
  }
  v.field("state", state_);
}

// The register page's form follows APIC_BASE, and a deadline needs the timer's mode: hence the CPU's
// registers first, and the deadline again afterwards.
Result<void> KvmLapic::restored() {
  TRY(vcpu_.flush());
  kvm_lapic_state k{};
  TRY(vcpu_.fd().require(KVM_GET_LAPIC, &k, "Reading a LAPIC"));
  x86::State cpu;
  vcpu_.get(cpu);
  LapicState state = state_;
  state.apic_base = cpu.apic_base;
  to_kernel(state, time_.now_ns(), k);
  TRY(vcpu_.fd().require(KVM_SET_LAPIC, &k, "Setting a LAPIC"));
  if (state_.tsc_deadline != 0)
    vcpu_.msrs().set_one(vcpu_.fd(), kTscDeadlineMsr, state_.tsc_deadline);
  return {};
}

void KvmOtherMsrs::describe(StateVisitor& v) {
  if (!v.loading()) values_ = vcpu_.msrs().read_others(vcpu_.fd());
  v.field("values", values_);
}

Result<void> KvmOtherMsrs::restored() {
  vcpu_.msrs().write_others(vcpu_.fd(), values_);
  return {};
}

}  // namespace menura
