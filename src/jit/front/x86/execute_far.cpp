// Far jumps, calls and returns, IRET. Call gates and task switches are not implemented: they raise #GP.
#include <array>

#include "base/bits.h"
#include "cpu/x86/paging.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

using cpu::Descriptor;

struct FarPointer {
  u16 selector;
  u64 offset;
};

OrFault<FarPointer> far_pointer(Executor& x) {
  const unsigned n = x.i.operand_size;
  if (!x.i.is_memory()) return FarPointer{x.i.imm2, x.i.imm};
  const u64 at = TRY(x.address(n + 2, PageAccess::Read));
  const u64 offset = TRY(x.bus.load(at, n, Privilege::Current));
  return FarPointer{static_cast<u16>(TRY(x.bus.load(at + n, 2, Privilege::Current))), offset};
}

// A code segment as the target of a far JMP or CALL at the same privilege.
OrFault<Descriptor> direct_target(Executor& x, const FarPointer& to) {
  const u32 code = to.selector & ~3u;
  if (code == 0) return cpu::general_protection();
  Descriptor d = TRY(cpu::read_descriptor(x.s, x.bus, to.selector, cpu::general_protection(code)));
  const u8 cpl = x.cpl(), rpl = to.selector & 3;
  if (!d.code()) return cpu::general_protection(code);
  if (d.conforming() ? d.dpl() > cpl : rpl > cpl || d.dpl() != cpl)
    return cpu::general_protection(code);
  if (x.s.long_mode_active() && d.long_mode() && (d.attributes() & 0x4000))
    return cpu::general_protection(code);
  if (!d.present()) return cpu::not_present(code);
  const bool to64 = x.s.long_mode_active() && d.long_mode();
  if (to64 ? !cpu::canonical(x.s, to.offset) : to.offset > d.limit())
    return cpu::general_protection();
  return d;
}

Outcome jump_far(Executor& x) {
  const FarPointer to = TRY(far_pointer(x));
  if (!cpu::protected_mode(x.s)) {
    cpu::load_real_segment(x.s, cpu::Cs, to.selector);
    return x.jump(to.offset);
  }
  Descriptor d = TRY(direct_target(x, to));
  TRY(cpu::mark_accessed(x.bus, d));
  cpu::set_code_segment(x.s, d, to.selector, x.cpl());
  return x.jump(to.offset);
}

Outcome call_far(Executor& x) {
  const unsigned n = x.i.operand_size;
  const FarPointer to = TRY(far_pointer(x));
  Descriptor d;
  if (cpu::protected_mode(x.s)) d = TRY(direct_target(x, to));
  const u64 rsp = x.s.gpr[cpu::Rsp];
  TRY(x.push(n, x.s.seg[cpu::Cs].selector));
  if (OrFault<void> pushed = x.push(n, x.next); !pushed) {
    x.s.gpr[cpu::Rsp] = rsp;
    return pushed.error();
  }
  if (cpu::protected_mode(x.s)) {
    TRY(cpu::mark_accessed(x.bus, d));
    cpu::set_code_segment(x.s, d, to.selector, x.cpl());
  } else {
    cpu::load_real_segment(x.s, cpu::Cs, to.selector);
  }
  return x.jump(to.offset);
}

// What a return brings back.
struct Frame {
  u64 rip, cs, flags, rsp, ss;
};

// CS and, for an outer level or in long mode, SS of a return; checked before anything changes.
struct Checked {
  Descriptor cs, ss;
  bool outer, null_ss;
  u8 level;
};

OrFault<Descriptor> return_code(Executor& x, u16 selector, u64 rip) {
  const u32 code = selector & ~3u;
  const u8 rpl = selector & 3;
  if (code == 0) return cpu::general_protection();
  Descriptor d = TRY(cpu::read_descriptor(x.s, x.bus, selector, cpu::general_protection(code)));
  if (!d.code() || rpl < x.cpl()) return cpu::general_protection(code);
  if (d.conforming() ? d.dpl() > rpl : d.dpl() != rpl) return cpu::general_protection(code);
  if (!d.present()) return cpu::not_present(code);
  const bool to64 = x.s.long_mode_active() && d.long_mode();
  if (to64 ? !cpu::canonical(x.s, rip) : rip > d.limit()) return cpu::general_protection();
  return d;
}

OrFault<Checked> check_return(Executor& x, const Frame& f, bool has_stack) {
  Checked c{};
  const u16 cs = static_cast<u16>(f.cs), ss = static_cast<u16>(f.ss);
  c.cs = TRY(return_code(x, cs, f.rip));
  c.level = cs & 3;
  c.outer = c.level > x.cpl();
  if (!has_stack) return c;
  const u32 code = ss & ~3u;
  if (code == 0) {
    const bool to64 = x.s.long_mode_active() && c.cs.long_mode();
    if (!to64 || c.level == 3 || (ss & 3) != c.level) return cpu::general_protection();
    c.null_ss = true;
    return c;
  }
  c.ss = TRY(cpu::read_descriptor(x.s, x.bus, ss, cpu::general_protection(code)));
  if ((ss & 3) != c.level || !c.ss.code_or_data() || c.ss.code() || !(c.ss.type() & 2) ||
      c.ss.dpl() != c.level)
    return cpu::general_protection(code);
  if (!c.ss.present()) return cpu::stack_fault(code);
  return c;
}

void set_stack(Executor& x, const Checked& c, const Frame& f) {
  if (c.null_ss) {
    x.s.seg[cpu::Ss] = cpu::null_stack_segment(static_cast<u16>(f.ss), c.level);
  } else {
    x.s.seg[cpu::Ss] = c.ss.segment(static_cast<u16>(f.ss));
  }
  const bool to64 = x.s.long_mode_active() && c.cs.long_mode();
  if (to64)
    x.s.gpr[cpu::Rsp] = f.rsp;
  else
    x.set_gpr(cpu::Rsp, x.s.seg[cpu::Ss].db() ? 4 : 2, f.rsp);
}

Outcome return_far(Executor& x) {
  const unsigned n = x.i.operand_size;
  const u64 extra = x.i.opcode == 0xca ? x.i.imm & 0xffff : 0;
  const u64 sp = x.stack_pointer();
  auto word = [&](unsigned index, u64 beyond) {
    return x.load(cpu::Ss, truncated(sp + index * n + beyond, x.stack_size()), n);
  };
  Frame f{};
  f.rip = TRY(word(0, 0));
  f.cs = TRY(word(1, 0));
  if (!cpu::protected_mode(x.s)) {
    cpu::load_real_segment(x.s, cpu::Cs, static_cast<u16>(f.cs));
    x.set_stack_pointer(truncated(sp + 2 * n + extra, x.stack_size()));
    return x.jump(f.rip);
  }
  const bool outer = (f.cs & 3) > x.cpl();
  if (outer) {
    f.rsp = TRY(word(2, extra));
    f.ss = TRY(word(3, extra));
  }
  Checked c = TRY(check_return(x, f, outer));
  TRY(cpu::mark_accessed(x.bus, c.cs));
  if (!outer) x.set_stack_pointer(truncated(sp + 2 * n + extra, x.stack_size()));
  cpu::set_code_segment(x.s, c.cs, static_cast<u16>(f.cs), c.level);
  if (outer) {
    f.rsp += extra;
    set_stack(x, c, f);
    cpu::drop_inner_segments(x.s);
  }
  return x.jump(f.rip);
}

constexpr u64 kIretUser =
    cpu::kArithmeticFlags | cpu::kTf | cpu::kDf | cpu::kNt | cpu::kRf | cpu::kAc | cpu::kId;

void set_flags(Executor& x, u64 value, u64 mask) {
  if (x.i.operand_size == 2) mask &= 0xffff;
  x.s.rflags = merge(x.s.rflags, value, mask) | 2;
}

Outcome iret_real(Executor& x) {
  if (cpu::v86_mode(x.s) && cpu::iopl(x.s) < 3) return cpu::general_protection();
  const unsigned n = x.i.operand_size;
  const u64 rsp = x.s.gpr[cpu::Rsp];
  std::array<u64, 3> words{};
  for (u64& word : words) {
    OrFault<u64> popped = x.pop(n);
    if (!popped) {
      x.s.gpr[cpu::Rsp] = rsp;
      return popped.error();
    }
    word = *popped;
  }
  u64 mask = kIretUser | cpu::kIf;
  if (!cpu::v86_mode(x.s)) mask |= cpu::kIopl;
  cpu::load_real_segment(x.s, cpu::Cs, static_cast<u16>(words[1]));
  set_flags(x, words[2], mask);
  x.s.nmi_blocked = false;
  return x.jump(words[0]);
}

Outcome iret_to_v86(Executor& x, const Frame& f) {
  const u64 sp = x.stack_pointer();
  std::array<u16, 4> selectors{};  // ES, DS, FS, GS
  for (unsigned k = 0; k < 4; k++)
    selectors[k] =
        static_cast<u16>(TRY(x.load(cpu::Ss, truncated(sp + 20 + 4 * k, x.stack_size()), 4)));
  x.s.rflags = (f.flags & 0x3f'7fd5) | 2;
  constexpr std::array kOrder{cpu::Es, cpu::Ds, cpu::Fs, cpu::Gs};
  for (unsigned k = 0; k < 4; k++) cpu::load_real_segment(x.s, kOrder[k], selectors[k]);
  cpu::load_real_segment(x.s, cpu::Cs, static_cast<u16>(f.cs));
  x.s.seg[cpu::Cs].attributes = 0xf3;
  cpu::load_real_segment(x.s, cpu::Ss, static_cast<u16>(f.ss));
  x.s.gpr[cpu::Rsp] = f.rsp;
  x.s.nmi_blocked = false;
  return x.jump(f.rip & 0xffff);
}

Outcome iret(Executor& x) {
  if (!cpu::protected_mode(x.s)) return iret_real(x);
  const unsigned n = x.i.operand_size;
  // A return from a nested task would be a task switch.
  if (x.s.rflags & cpu::kNt) return cpu::general_protection();
  const u64 sp = x.stack_pointer();
  auto word = [&](unsigned index) {
    return x.load(cpu::Ss, truncated(sp + index * n, x.stack_size()), n);
  };
  Frame f{};
  f.rip = TRY(word(0));
  f.cs = TRY(word(1));
  f.flags = TRY(word(2));
  const bool to_v86 = n == 4 && (f.flags & cpu::kVm) && x.cpl() == 0 && !x.s.long_mode_active();
  const bool has_stack = x.bits64() || to_v86 || (f.cs & 3) > x.cpl();
  if (has_stack) {
    f.rsp = TRY(word(3));
    f.ss = TRY(word(4));
  }
  if (to_v86) return iret_to_v86(x, f);
  Checked c = TRY(check_return(x, f, has_stack));
  TRY(cpu::mark_accessed(x.bus, c.cs));
  u64 mask = kIretUser;
  if (x.cpl() <= cpu::iopl(x.s)) mask |= cpu::kIf;
  if (x.cpl() == 0) mask |= cpu::kIopl;
  if (!has_stack) x.set_stack_pointer(truncated(sp + 3 * n, x.stack_size()));
  set_flags(x, f.flags, mask);
  cpu::set_code_segment(x.s, c.cs, static_cast<u16>(f.cs), c.level);
  if (has_stack) {
    set_stack(x, c, f);
    if (c.outer) cpu::drop_inner_segments(x.s);
  }
  x.s.nmi_blocked = false;
  return x.jump(f.rip);
}

}  // namespace

Outcome execute_far(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::JmpFar: return jump_far(x);
    case Mnemonic::CallFar: return call_far(x);
    case Mnemonic::RetFar: return return_far(x);
    case Mnemonic::Iret: return iret(x);
    default: return Outcome::Native;
  }
}

namespace {

cpu::Segment flat_code(u16 selector, u8 dpl, bool long_mode) {
  return {.selector = selector,
          .attributes = static_cast<u16>(0x809b | dpl << 5 | (long_mode ? 0x2000 : 0x4000)),
          .limit = 0xffff'ffff};
}
cpu::Segment flat_stack(u16 selector, u8 dpl) {
  return {.selector = selector,
          .attributes = static_cast<u16>(0xc093 | dpl << 5),
          .limit = 0xffff'ffff};
}

Outcome syscall(Executor& x) {
  cpu::State& s = x.s;
  if (!(s.efer & cpu::kEferSce) || !cpu::protected_mode(s)) return cpu::undefined_opcode();
  const u16 selector = static_cast<u16>(s.star >> 32) & 0xfffc;
  u64 target;
  if (s.long_mode_active()) {
    s.gpr[cpu::Rcx] = x.next;
    s.gpr[cpu::R11] = s.rflags & ~u64{cpu::kRf};
    target = x.bits64() ? s.lstar : s.cstar;
    s.rflags &= ~(s.fmask | cpu::kRf);
  } else {
    s.gpr[cpu::Rcx] = x.next;
    target = s.star & 0xffff'ffff;
    s.rflags &= ~static_cast<u64>(cpu::kVm | cpu::kIf | cpu::kRf);
  }
  s.rflags |= 2;
  s.seg[cpu::Cs] = flat_code(selector, 0, s.long_mode_active());
  s.seg[cpu::Ss] = flat_stack(static_cast<u16>(selector + 8), 0);
  return x.jump(target);
}

Outcome sysret(Executor& x) {
  cpu::State& s = x.s;
  if (!(s.efer & cpu::kEferSce) || !cpu::protected_mode(s)) return cpu::undefined_opcode();
  const u16 base = static_cast<u16>(s.star >> 48);
  const bool to64 = x.i.operand_size == 8;
  if (to64 && !cpu::canonical(s, s.gpr[cpu::Rcx])) return cpu::general_protection();
  if (s.long_mode_active())
    s.rflags = (s.gpr[cpu::R11] & 0x3c'7fd7) | 2;
  else
    s.rflags |= cpu::kIf;
  s.seg[cpu::Cs] = flat_code(static_cast<u16>((base + (to64 ? 16 : 0)) | 3), 3, to64);
  s.seg[cpu::Ss] = flat_stack(static_cast<u16>((base + 8) | 3), 3);
  return x.jump(to64 ? s.gpr[cpu::Rcx] : s.gpr[cpu::Rcx] & 0xffff'ffff);
}

Outcome sysenter(Executor& x) {
  cpu::State& s = x.s;
  if (!(s.cr0 & cpu::kCr0Pe) || (s.sysenter_cs & 0xfffc) == 0) return cpu::general_protection();
  const u16 selector = static_cast<u16>(s.sysenter_cs & 0xfffc);
  const bool wide = s.long_mode_active();
  s.rflags &= ~static_cast<u64>(cpu::kVm | cpu::kIf | cpu::kRf);
  s.seg[cpu::Cs] = flat_code(selector, 0, wide);
  s.seg[cpu::Ss] = flat_stack(static_cast<u16>(selector + 8), 0);
  s.gpr[cpu::Rsp] = wide ? s.sysenter_esp : s.sysenter_esp & 0xffff'ffff;
  return x.jump(wide ? s.sysenter_eip : s.sysenter_eip & 0xffff'ffff);
}

Outcome sysexit(Executor& x) {
  cpu::State& s = x.s;
  if (!(s.cr0 & cpu::kCr0Pe) || (s.sysenter_cs & 0xfffc) == 0) return cpu::general_protection();
  const bool to64 = x.i.operand_size == 8;
  const u16 selector = static_cast<u16>((s.sysenter_cs & 0xfffc) + (to64 ? 32 : 16));
  if (to64 && (!cpu::canonical(s, s.gpr[cpu::Rcx]) || !cpu::canonical(s, s.gpr[cpu::Rdx])))
    return cpu::general_protection();
  s.seg[cpu::Cs] = flat_code(selector | 3, 3, to64);
  s.seg[cpu::Ss] = flat_stack(static_cast<u16>((selector + 8) | 3), 3);
  s.gpr[cpu::Rsp] = to64 ? s.gpr[cpu::Rcx] : s.gpr[cpu::Rcx] & 0xffff'ffff;
  return x.jump(to64 ? s.gpr[cpu::Rdx] : s.gpr[cpu::Rdx] & 0xffff'ffff);
}

}  // namespace

Outcome execute_system_call(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Syscall: return syscall(x);
    case Mnemonic::Sysret: return sysret(x);
    case Mnemonic::Sysenter: return sysenter(x);
    case Mnemonic::Sysexit: return sysexit(x);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
