// The local APIC's interrupts and xAPIC registers. The timer is in lapic_timer.cpp, the MSRs in
// lapic_msr.cpp.
#include "hw/intc/lapic.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "base/trace.h"
#include "hw/intc/lapic_registers.h"

namespace menura {

TRACE_EVENT(kLapicWrite, "lapic.write", "{} register {:#04x} value {:#x}");
TRACE_EVENT(kLapicAcknowledge, "lapic.acknowledge", "{} vector {:#04x}");

using namespace lapic;

int VectorSet::highest() const {
  for (int i = 7; i >= 0; i--) {
    const u32 word = words[static_cast<size_t>(i)];
    if (word != 0) return 32 * i + 31 - std::countl_zero(word);
  }
  return -1;
}

void LapicState::describe(StateVisitor& v) {
  v.field("apic_base", apic_base);
  v.field("id", id);
  v.field("tpr", tpr);
  v.field("ldr", ldr);
  v.field("dfr", dfr);
  v.field("svr", svr);
  v.field("esr", esr);
  v.field("errors", errors);
  v.field("icr", icr);
  v.field("lvt", lvt);
  v.field("isr", isr.words);
  v.field("tmr", tmr.words);
  v.field("irr", irr.words);
  v.field("timer_initial", timer_initial);
  v.field("timer_divide", timer_divide);
  v.field("timer_start_ns", timer_start_ns);
  v.field("timer_fired", timer_fired);
  v.field("tsc_deadline", tsc_deadline);
  v.field("lint_levels", lint_levels);
  v.field("extint", extint);
}

Lapic::Lapic(std::string id, Config config, ApicBus& bus, TimerQueue& time)
    : Device(std::move(id)), config_(config), bus_(bus), time_(time), timer_(time, [this] {
        on_timer();
      }) {
  state_.id = config_.apic_id;
  bus_.add(*this);
}

Lapic::~Lapic() { bus_.remove(*this); }

void Lapic::reset(ResetKind) {
  ensure(cpu_ != nullptr, "a local APIC is connected to its CPU before the first reset");
  state_.apic_base = kBaseAddress | LapicState::kBaseEnabled |
                     (config_.bootstrap ? LapicState::kBaseBootstrap : 0);
  reset_registers();
}

// The state after power-up, reset or INIT (§11.4.7); APIC_BASE and the ID stay.
void Lapic::reset_registers() {
  state_ = LapicState{
      .apic_base = state_.apic_base, .id = config_.apic_id, .lint_levels = state_.lint_levels};
  state_.dfr = 0xffff'ffff;
  state_.svr = 0xff;
  state_.lvt.fill(kLvtMasked);
  // Firmware's first act on a PC, done for guests without one, as KVM's chip does: interrupts of
  // the PIC reach the bootstrap CPU.
  if (config_.bootstrap)
    state_.lvt[LapicState::kLint0] = static_cast<u32>(ApicDelivery::ExtInt) << 8;
  arm_timer();
  update();
}

void Lapic::describe(StateVisitor& v) { v.field("state", state_); }

Result<void> Lapic::restored() {
  if (state_.id != config_.apic_id)
    return fail(Errc::Corrupt, "Saved local APIC has ID {}, this one is {}", state_.id,
                config_.apic_id);
  constexpr i64 kFar = i64{1} << 62;
  if (state_.timer_start_ns < -kFar || state_.timer_start_ns > kFar || state_.tpr > 0xff)
    return fail(Errc::Corrupt, "Saved local APIC {}: timer or priority is out of range", state_.id);
  arm_timer();
  intr_ = pending();
  cpu_->set_intr(intr_);
  return {};
}

u8 Lapic::processor_priority() const {
  const u8 serving = static_cast<u8>(std::max(state_.isr.highest(), 0) & 0xf0);
  const u8 task = static_cast<u8>(state_.tpr);
  return (task & 0xf0) >= serving ? task : serving;
}

u8 Lapic::arbitration_priority() const {
  const u8 task = static_cast<u8>(state_.tpr);
  const u8 requested = static_cast<u8>(std::max(state_.irr.highest(), 0) & 0xf0);
  const u8 serving = static_cast<u8>(std::max(state_.isr.highest(), 0) & 0xf0);
  if ((task & 0xf0) >= requested && (task & 0xf0) > serving) return task;
  return std::max<u8>(task & serving & 0xf0, requested);
}

bool Lapic::is_focus(u8 vector) const {
  const bool checking = !(state_.svr & kSvrNoFocus);
  return checking && (state_.isr.test(vector) || state_.irr.test(vector));
}

bool Lapic::matches(const ApicMessage& message) const {
  if (!state_.enabled()) return false;
  const u32 destination = message.destination;
  if (destination == ApicMessage::kBroadcast) return true;
  if (!message.logical) return destination == state_.id;
  if (state_.x2apic()) {
    const u32 ldr = x2apic_ldr(state_.id);
    return bits(destination, 31, 16) == bits(ldr, 31, 16) && (destination & ldr & 0xffff);
  }
  if (destination > 0xff) return false;
  const u32 logical_id = state_.ldr >> 24;
  if (state_.dfr >> 28 == 0xf) return (destination & logical_id) != 0;
  return destination >> 4 == logical_id >> 4 && (destination & logical_id & 15);
}

IrqStatus Lapic::accept(const ApicMessage& message) {
  switch (message.delivery) {
    case ApicDelivery::Fixed:
    case ApicDelivery::LowestPriority:
      if (!software_enabled()) return IrqStatus::Ignored;
      return request(message.vector, message.level_triggered);
    case ApicDelivery::Smi: cpu_->smi(); break;
    case ApicDelivery::Nmi: cpu_->nmi(); break;
    case ApicDelivery::Init:
      reset_registers();
      cpu_->init();
      break;
    case ApicDelivery::StartUp: cpu_->sipi(message.vector); break;
    case ApicDelivery::ExtInt:
      state_.extint = true;
      update();
      break;
    case ApicDelivery::Reserved: return IrqStatus::Ignored;
  }
  return IrqStatus::Delivered;
}

IrqStatus Lapic::request(u8 vector, bool level_triggered) {
  if (vector < 16) {
    note_error(kEsrReceivedIllegalVector);
    return IrqStatus::Ignored;
  }
  const bool was_requested = state_.irr.test(vector);
  state_.irr.set(vector);
  if (level_triggered)
    state_.tmr.set(vector);
  else
    state_.tmr.clear(vector);
  update();
  return was_requested ? IrqStatus::Coalesced : IrqStatus::Delivered;
}

IrqStatus Lapic::deliver_lvt(LapicState::Lvt lvt) {
  u32& entry = state_.lvt[lvt];
  if (!state_.enabled() || (entry & kLvtMasked)) return IrqStatus::Ignored;
  const bool is_pin = lvt == LapicState::kLint0 || lvt == LapicState::kLint1;
  const bool has_delivery_mode = lvt != LapicState::kTimer && lvt != LapicState::kError;
  const ApicDelivery delivery =
      has_delivery_mode ? static_cast<ApicDelivery>(bits(entry, 10, 8)) : ApicDelivery::Fixed;
  switch (delivery) {
    case ApicDelivery::Fixed: {
      const bool level = is_pin && (entry & kLvtLevel);
      if (level && (entry & kLvtRemoteIrr)) return IrqStatus::Coalesced;
      const IrqStatus status = request(static_cast<u8>(entry), level);
      if (level && status != IrqStatus::Ignored) entry |= kLvtRemoteIrr;
      return status;
    }
    case ApicDelivery::Smi: cpu_->smi(); return IrqStatus::Delivered;
    case ApicDelivery::Nmi: cpu_->nmi(); return IrqStatus::Delivered;
    case ApicDelivery::Init:
      reset_registers();
      cpu_->init();
      return IrqStatus::Delivered;
    case ApicDelivery::ExtInt:  // from a pin it is a level, which extint_asked() sees
    case ApicDelivery::LowestPriority:
    case ApicDelivery::StartUp:
    case ApicDelivery::Reserved: return IrqStatus::Ignored;
  }
  return IrqStatus::Ignored;
}

void Lapic::set_lint(unsigned pin, bool level) {
  const u32 mask = 1u << pin;
  const bool rises = level && !(state_.lint_levels & mask);
  state_.lint_levels = level ? state_.lint_levels | mask : state_.lint_levels & ~mask;
  if (!state_.enabled()) {
    // The pins are the CPU's INTR and NMI (§11.4.3).
    if (pin == 1 && rises) cpu_->nmi();
  } else if (rises) {
    deliver_lvt(pin == 0 ? LapicState::kLint0 : LapicState::kLint1);
  }
  update();
}

bool Lapic::extint_asked() const {
  const bool lint0 = state_.lint_levels & 1;
  if (!state_.enabled()) return lint0;
  const u32 entry = state_.lvt[LapicState::kLint0];
  const bool passes = !(entry & kLvtMasked) &&
                      static_cast<ApicDelivery>(bits(entry, 10, 8)) == ApicDelivery::ExtInt;
  return (lint0 && passes) || state_.extint;
}

int Lapic::deliverable() const {
  const int vector = state_.enabled() ? state_.irr.highest() : -1;
  return vector >= 0 && (vector & 0xf0) > (processor_priority() & 0xf0) ? vector : -1;
}

bool Lapic::pending() const { return extint_asked() || deliverable() >= 0; }

void Lapic::update() {
  if (pending() == intr_) return;
  intr_ = !intr_;
  cpu_->set_intr(intr_);
}

int Lapic::acknowledge() {
  int vector = -1;
  const bool external = extint_asked() && bus_.extint() != nullptr;
  if (external) {
    state_.extint = false;
    vector = bus_.extint()->acknowledge();
  } else if (vector = deliverable(); vector >= 0) {
    state_.irr.clear(static_cast<u8>(vector));
    state_.isr.set(static_cast<u8>(vector));
  }
  trace(kLapicAcknowledge, id(), vector);
  update();
  if (!external && vector >= 0) bus_.taken(static_cast<u8>(vector));
  return vector;
}

void Lapic::end_of_interrupt() {
  const int highest = state_.isr.highest();
  if (highest < 0) return;
  const u8 vector = static_cast<u8>(highest);
  state_.isr.clear(vector);
  if (state_.tmr.test(vector)) {
    for (const LapicState::Lvt lvt : {LapicState::kLint0, LapicState::kLint1}) {
      u32& entry = state_.lvt[lvt];
      if (!(entry & kLvtRemoteIrr) || static_cast<u8>(entry) != vector) continue;
      entry &= ~kLvtRemoteIrr;
      if (state_.lint_levels & (lvt == LapicState::kLint0 ? 1 : 2)) deliver_lvt(lvt);
    }
    if (!(state_.svr & kSvrNoEoiBroadcast)) bus_.eoi(vector);
  }
  update();
}

// One interrupt for the errors since ESR was written (§11.5.3).
void Lapic::note_error(u32 esr_bit) {
  const bool first = state_.errors == 0;
  state_.errors |= esr_bit;
  if (first) deliver_lvt(LapicState::kError);
}

void Lapic::set_cr8(u8 value) {
  state_.tpr = static_cast<u32>(value & 15) << 4;
  update();
}

bool Lapic::claims(GuestAddr address) const {
  return state_.enabled() && !state_.x2apic() &&
         align_down(address.value, u64{0x1000}) == (state_.apic_base & kBaseAddressMask);
}

u64 Lapic::read(Access access) {
  // Registers are dwords at multiples of 16; what lies between is undefined, here zero.
  const unsigned byte = access.offset & 0xf;
  if (byte >= 4) return 0;
  return (u64{read_register(bits(access.offset, 11, 4))} >> (8 * byte)) & low_mask(8 * access.size);
}

void Lapic::write(Access access, u64 value) {
  if (access.size < 4 || (access.offset & 0xf) != 0) return;
  write_register(bits(access.offset, 11, 4), static_cast<u32>(value));
}

u32 Lapic::read_register(unsigned reg) const {
  if (reg >= kIsr && reg < kIsr + 8) return state_.isr.words[reg - kIsr];
  if (reg >= kTmr && reg < kTmr + 8) return state_.tmr.words[reg - kTmr];
  if (reg >= kIrr && reg < kIrr + 8) return state_.irr.words[reg - kIrr];
  if (reg >= kLvtTimer && reg <= kLvtError) return state_.lvt[reg - kLvtTimer];
  switch (reg) {
    case kId: return state_.x2apic() ? state_.id : state_.id << 24;
    case kVersion: return kVersionValue;
    case kTpr: return state_.tpr;
    case kApr: return arbitration_priority();
    case kPpr: return processor_priority();
    case kLdr: return state_.x2apic() ? x2apic_ldr(state_.id) : state_.ldr;
    case kDfr: return state_.dfr;
    case kSvr: return state_.svr;
    case kEsr: return state_.esr;
    case kIcrLow: return static_cast<u32>(state_.icr);
    case kIcrHigh: return static_cast<u32>(state_.icr >> 32);
    case kTimerInitial: return state_.timer_initial;
    case kTimerCurrent: return state_.timer_current(time_.now_ns());
    case kTimerDivide: return state_.timer_divide;
    default: return 0;
  }
}

void Lapic::write_register(unsigned reg, u32 value) {
  trace(kLapicWrite, id(), reg, value);
  if (reg >= kLvtTimer && reg <= kLvtError)
    return write_lvt(static_cast<LapicState::Lvt>(reg - kLvtTimer), value);
  switch (reg) {
    case kTpr: state_.tpr = value & 0xff; break;
    case kEoi: return end_of_interrupt();
    case kLdr: state_.ldr = value & 0xff00'0000; break;
    case kDfr: state_.dfr = value | 0x0fff'ffff; break;
    case kSvr: return write_svr(value);
    case kEsr: state_.esr = std::exchange(state_.errors, 0); break;
    case kIcrLow: return write_icr(with_bits(state_.icr, 31, 0, value));
    case kIcrHigh: state_.icr = with_bits(state_.icr, 63, 32, value & 0xff00'0000); break;
    case kTimerInitial:
      state_.timer_initial = value;
      state_.timer_start_ns = time_.now_ns();
      state_.timer_fired = false;
      return arm_timer();
    case kTimerDivide: return write_timer_divide(value);
    case kId:  // an ID is fixed, as in processors since the P4
    case kVersion:
    case kApr:
    case kPpr:
    case kTimerCurrent: break;
    default:
      if (reg < kIsr || reg >= kIrr + 8) note_error(kEsrIllegalRegister);
  }
  update();
}

void Lapic::write_svr(u32 value) {
  state_.svr = value & kSvrBits;
  if (!software_enabled())
    for (u32& entry : state_.lvt) entry |= kLvtMasked;
  update();
}

void Lapic::write_lvt(LapicState::Lvt lvt, u32 value) {
  const LapicState::TimerMode old_mode = state_.timer_mode();
  u32& entry = state_.lvt[lvt];
  entry = merge(entry, value, kLvtBits[lvt]);
  if (!software_enabled()) entry |= kLvtMasked;
  if (!(entry & kLvtLevel)) entry &= ~kLvtRemoteIrr;
  if (lvt == LapicState::kTimer && state_.timer_mode() != old_mode) {
    using Mode = LapicState::TimerMode;
    // To and from TSC-deadline mode the timer is disarmed (§11.5.4.1).
    if (old_mode == Mode::TscDeadline || state_.timer_mode() == Mode::TscDeadline) {
      state_.timer_initial = 0;
      state_.tsc_deadline = 0;
    }
    arm_timer();
  }
  update();
}

// §11.6.1, and table 11-3 for the combinations that are valid.
void Lapic::write_icr(u64 value) {
  constexpr u64 kDeliveryStatus = bit(12);
  state_.icr = value & ~kDeliveryStatus;
  const u32 low = static_cast<u32>(value);
  const bool x2apic = state_.x2apic();
  u32 destination = static_cast<u32>(value >> (x2apic ? 32 : 56));
  if (!x2apic && destination == 0xff) destination = ApicMessage::kBroadcast;
  // IPIs are edges: the trigger mode only tells INIT's de-assertion, which does nothing any more.
  const ApicMessage message{.destination = destination,
                            .logical = test_bit(low, 11),
                            .delivery = static_cast<ApicDelivery>(bits(low, 10, 8)),
                            .vector = static_cast<u8>(low)};
  enum Shorthand { kNone, kSelf, kAll, kOthers };
  const unsigned shorthand = bits(low, 19, 18);
  const ApicDelivery delivery = message.delivery;
  const bool fixed = delivery == ApicDelivery::Fixed;
  if (delivery == ApicDelivery::Reserved || delivery == ApicDelivery::ExtInt) return;
  if (delivery == ApicDelivery::Init && test_bit(low, 15) && !test_bit(low, 14)) return;
  if ((shorthand == kSelf || shorthand == kAll) && !fixed) return;
  if ((fixed || delivery == ApicDelivery::LowestPriority) && message.vector < 16)
    return note_error(kEsrSentIllegalVector);
  switch (shorthand) {
    case kNone: bus_.deliver(message); return;
    case kSelf: accept(message); return;
    case kAll: bus_.deliver_to_all(message, nullptr); return;
    case kOthers: bus_.deliver_to_all(message, this); return;
  }
}

}  // namespace menura
