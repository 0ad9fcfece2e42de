// The local APIC's MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC registers
// (Intel SDM vol. 3 §11.4.4, §11.5.4.1, §11.12).
#include "base/bits.h"
#include "hw/intc/lapic.h"
#include "hw/intc/lapic_registers.h"

namespace menura {

using namespace lapic;

namespace {

constexpr u32 kMsrApicBase = 0x1b;
constexpr u32 kMsrTscDeadline = 0x6e0;
constexpr u32 kMsrX2apic = 0x800;
constexpr u32 kMsrX2apicLast = 0x8ff;
constexpr u64 kIcrReserved = 0xfff3'2000;

// The bits that an x2APIC register lets pass; writing others is #GP. None for read-only registers.
struct Writable {
  bool exists = false;
  u64 bits = 0;
};
Writable writable(unsigned reg) {
  if (reg >= kLvtTimer && reg <= kLvtError)
    return {true, kLvtBits[reg - kLvtTimer] | kLvtDeliveryStatus | kLvtRemoteIrr};
  switch (reg) {
    case kTpr: return {true, 0xff};
    case kEoi:
    case kEsr: return {true, 0};
    case kSvr: return {true, kSvrBits};
    case kIcrLow: return {true, ~kIcrReserved};
    case kTimerInitial: return {true, 0xffff'ffff};
    case kTimerDivide: return {true, kTimerDivideBits};
    case kSelfIpi: return {true, 0xff};
    default: return {};
  }
}

bool readable(unsigned reg) {
  if (reg >= kIsr && reg < kIrr + 8) return true;
  switch (reg) {
    case kId:
    case kVersion:
    case kPpr:
    case kLdr:
    case kTimerCurrent: return true;
    case kEoi:
    case kSelfIpi: return false;
    default: return writable(reg).exists;
  }
}

}  // namespace

bool Lapic::read_msr(u32 index, u64& value) {
  if (index == kMsrApicBase) {
    value = state_.apic_base;
    return true;
  }
  if (index == kMsrTscDeadline) {
    value = state_.tsc_deadline;
    return true;
  }
  return index >= kMsrX2apic && index <= kMsrX2apicLast && read_x2apic(index - kMsrX2apic, value);
}

bool Lapic::write_msr(u32 index, u64 value) {
  if (index == kMsrApicBase) return write_apic_base(value);
  if (index == kMsrTscDeadline) {
    write_tsc_deadline(value);
    return true;
  }
  return index >= kMsrX2apic && index <= kMsrX2apicLast && write_x2apic(index - kMsrX2apic, value);
}

bool Lapic::read_x2apic(unsigned reg, u64& value) const {
  if (!state_.x2apic() || !readable(reg)) return false;
  value = reg == kIcrLow ? state_.icr : read_register(reg);
  return true;
}

bool Lapic::write_x2apic(unsigned reg, u64 value) {
  const Writable rule = writable(reg);
  if (!state_.x2apic() || !rule.exists || (value & ~rule.bits)) return false;
  if (reg == kIcrLow)
    write_icr(value);
  else if (reg == kSelfIpi)
    accept({.vector = static_cast<u8>(value)});
  else
    write_register(reg, static_cast<u32>(value));
  return true;
}

bool Lapic::write_apic_base(u64 value) {
  const u64 allowed = LapicState::kBaseBootstrap | LapicState::kBaseEnabled |
                      (config_.x2apic ? LapicState::kBaseX2apic : 0) |
                      (low_mask(config_.physical_bits) & kBaseAddressMask);
  if (value & ~allowed) return false;
  const u64 old_mode = state_.apic_base & (LapicState::kBaseEnabled | LapicState::kBaseX2apic);
  const u64 mode = value & (LapicState::kBaseEnabled | LapicState::kBaseX2apic);
  constexpr u64 kX2apicMode = LapicState::kBaseEnabled | LapicState::kBaseX2apic;
  // Figure 11-27: x2APIC is entered from xAPIC mode only, and left by disabling only.
  if (mode == LapicState::kBaseX2apic) return false;
  if (mode == kX2apicMode && old_mode == 0) return false;
  if (mode == LapicState::kBaseEnabled && old_mode == kX2apicMode) return false;
  state_.apic_base = value;
  if (mode == 0 && old_mode != 0) reset_registers();
  if (mode == kX2apicMode && old_mode != mode) state_.icr = 0;
  update();
  return true;
}

}  // namespace menura
