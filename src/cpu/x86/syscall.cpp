#include "cpu/x86/syscall.h"

#include "cpu/x86/cpuid.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"

namespace menura::x86 {

namespace {

enum class CodeSize : u8 { Bits32, Bits64 };

Segment flat_code(u64 selector, u8 dpl, CodeSize size) {
  const u16 how = size == CodeSize::Bits64 ? 0xa09b : 0xc09b;
  return {.selector = static_cast<u16>(selector),
          .attributes = static_cast<u16>(how | dpl << 5),
          .limit = 0xffff'ffff};
}

Segment flat_stack(u64 selector, u8 dpl) {
  return {.selector = static_cast<u16>(selector),
          .attributes = static_cast<u16>(0xc093 | dpl << 5),
          .limit = 0xffff'ffff};
}

// RFLAGS bits that SYSRET takes from R11: SDM vol. 2, SYSRET.
constexpr u64 kReturnedFlags = 0x3c'7fd7;

}  // namespace

OrFault<void> system_call(State& s, CpuBus& bus, u64 next_rip) {
  if (!(s.efer & kEferSce)) return undefined_opcode();
  if (!s.code64() && !is_amd(bus)) return undefined_opcode();
  const u64 selector = s.star >> 32 & 0xfffc;
  s.gpr[Rcx] = next_rip;
  if (s.long_mode_active()) {
    s.gpr[R11] = s.rflags & ~u64{kRf};
    s.rip = s.code64() ? s.lstar : s.cstar;
    s.rflags = (s.rflags & ~(s.fmask | kRf)) | kRflagsAlwaysOne;
    s.seg[Cs] = flat_code(selector, 0, CodeSize::Bits64);
  } else {
    s.rip = s.star & 0xffff'ffff;
    s.rflags &= ~static_cast<u64>(kVm | kIf | kRf);
    s.seg[Cs] = flat_code(selector, 0, CodeSize::Bits32);
  }
  s.seg[Ss] = flat_stack(selector + 8, 0);
  return {};
}

OrFault<void> system_return(State& s, CpuBus& bus, unsigned operand_size) {
  if (!(s.efer & kEferSce)) return undefined_opcode();
  if (!s.code64() && !is_amd(bus)) return undefined_opcode();
  if (!protected_mode(s) || s.cpl() != 0) return general_protection();
  const bool to64 = s.code64() && operand_size == 8;
  if (to64 && !canonical(s, s.gpr[Rcx])) return general_protection();
  if (s.long_mode_active())
    s.rflags = (s.gpr[R11] & kReturnedFlags) | kRflagsAlwaysOne;
  else
    s.rflags |= kIf;
  const u64 selector = s.star >> 48;
  s.rip = to64 ? s.gpr[Rcx] : s.gpr[Rcx] & 0xffff'ffff;
  s.seg[Cs] = to64 ? flat_code((selector + 16) | 3, 3, CodeSize::Bits64)
                   : flat_code(selector | 3, 3, CodeSize::Bits32);
  s.seg[Ss] = flat_stack((selector + 8) | 3, 3);
  return {};
}

OrFault<void> system_enter(State& s, CpuBus& bus) {
  if (s.long_mode_active() && is_amd(bus)) return undefined_opcode();
  const u64 selector = s.sysenter_cs & 0xfffc;
  if (real_mode(s) || selector == 0) return general_protection();
  const bool wide = s.long_mode_active();
  const u64 mask = wide ? ~u64{0} : 0xffff'ffff;
  s.rflags &= ~static_cast<u64>(kVm | kIf | kRf);
  s.seg[Cs] = flat_code(selector, 0, wide ? CodeSize::Bits64 : CodeSize::Bits32);
  s.seg[Ss] = flat_stack(selector + 8, 0);
  s.gpr[Rsp] = s.sysenter_esp & mask;
  s.rip = s.sysenter_eip & mask;
  return {};
}

OrFault<void> system_exit(State& s, CpuBus& bus, unsigned operand_size) {
  if (s.long_mode_active() && is_amd(bus)) return undefined_opcode();
  const u64 base = s.sysenter_cs & 0xfffc;
  if (!protected_mode(s) || base == 0 || s.cpl() != 0) return general_protection();
  const bool to64 = s.code64() && operand_size == 8;
  if (to64 && (!canonical(s, s.gpr[Rcx]) || !canonical(s, s.gpr[Rdx]))) return general_protection();
  const u64 mask = to64 ? ~u64{0} : 0xffff'ffff;
  const u64 selector = base + (to64 ? 32 : 16);
  s.gpr[Rsp] = s.gpr[Rcx] & mask;
  s.rip = s.gpr[Rdx] & mask;
  s.seg[Cs] = flat_code(selector | 3, 3, to64 ? CodeSize::Bits64 : CodeSize::Bits32);
  s.seg[Ss] = flat_stack((selector + 8) | 3, 3);
  return {};
}

}  // namespace menura::x86
