#include "cpu/x86/flags.h"

#include "base/bits.h"
#include "cpu/x86/segments.h"

namespace menura::x86 {

namespace {

constexpr u64 kUserFlags = kArithmeticFlags | kTf | kDf | kNt;
constexpr u64 kWideUserFlags = kAc | kId;

// How CLI and STI act: on IF, on VIF, or not at all.
enum class Target : u8 { If, Vif, Denied };

Target interrupt_flag_target(const State& s) {
  if (real_mode(s)) return Target::If;
  if (v86_mode(s)) {
    if (iopl(s) == 3) return Target::If;
    return s.cr4 & kCr4Vme ? Target::Vif : Target::Denied;
  }
  if (s.cpl() <= iopl(s)) return Target::If;
  return s.cpl() == 3 && (s.cr4 & kCr4Pvi) ? Target::Vif : Target::Denied;
}

// POPF of 16 bits in virtual-8086 mode with VME and IOPL below 3: IF stands for VIF.
OrFault<u64> popped_virtual(const State& s, u64 value) {
  if ((value & kTf) || ((value & kIf) && (s.rflags & kVip))) return general_protection();
  const u64 flags = merge<u64>(s.rflags, value, kUserFlags);
  return value & kIf ? flags | kVif : flags & ~u64{kVif};
}

}  // namespace

OrFault<u64> pushed_flags(const State& s, unsigned operand_size) {
  if (v86_mode(s) && iopl(s) < 3) {
    if (operand_size != 2 || !(s.cr4 & kCr4Vme)) return general_protection();
    const u64 flags = (s.rflags & 0xffff) | kIopl;
    return s.rflags & kVif ? flags | kIf : flags & ~u64{kIf};
  }
  return operand_size == 2 ? s.rflags & 0xffff : s.rflags & ~static_cast<u64>(kVm | kRf);
}

OrFault<u64> popped_flags(const State& s, u64 value, unsigned operand_size) {
  u64 mask = kUserFlags;
  if (v86_mode(s)) {
    if (iopl(s) == 3)
      mask |= kIf;
    else if (operand_size == 2 && (s.cr4 & kCr4Vme))
      return popped_virtual(s, value);
    else
      return general_protection();
  } else {
    const u8 cpl = real_mode(s) ? 0 : s.cpl();
    if (cpl <= iopl(s)) mask |= kIf;
    if (cpl == 0) mask |= kIopl;
  }
  if (operand_size == 2) return merge(s.rflags, value, mask);
  return merge(s.rflags & ~u64{kRf}, value, mask | kWideUserFlags);
}

OrFault<void> clear_interrupt_flag(State& s) {
  switch (interrupt_flag_target(s)) {
    case Target::If: s.rflags &= ~u64{kIf}; return {};
    case Target::Vif: s.rflags &= ~u64{kVif}; return {};
    case Target::Denied: return general_protection();
  }
  unreachable();
}

OrFault<void> set_interrupt_flag(State& s) {
  switch (interrupt_flag_target(s)) {
    case Target::If:
      if (!(s.rflags & kIf)) s.interrupt_shadow = true;
      s.rflags |= kIf;
      return {};
    case Target::Vif:
      if (s.rflags & kVip) return general_protection();
      s.rflags |= kVif;
      return {};
    case Target::Denied: return general_protection();
  }
  unreachable();
}

}  // namespace menura::x86
