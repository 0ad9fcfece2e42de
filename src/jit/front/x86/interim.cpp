// Stands in for the parts of cpu/x86 that have not landed yet: far transfers (without call gates and
// task switches), control and debug registers, system calls, flag rules. Goes away with them.
#include <array>

#include "base/bits.h"
#include "cpu/x86/control.h"
#include "cpu/x86/delivery.h"
#include "cpu/x86/far_transfer.h"
#include "cpu/x86/flags.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/segments.h"
#include "cpu/x86/smm.h"
#include "cpu/x86/syscall.h"
#include "cpu/x86/task.h"
#include "jit/front/x86/insn.h"

#define WEAK __attribute__((weak))

namespace menura::jit::x86 {

namespace cpu = menura::x86;
using cpu::Descriptor;
using cpu::FarPointer;
using cpu::OrFault;
using cpu::PageAccess;
using cpu::Privilege;
using cpu::SegReg;

namespace {

u64 truncated(u64 value, unsigned bytes) { return value & low_mask(8 * bytes); }

class Executor {
 public:
  Executor(cpu::State& state, cpu::CpuBus& bus, unsigned size, u64 next = 0)
      : s(state), bus(bus), next(next) {
    i.operand_size = static_cast<u8>(size);
  }

  cpu::State& s;
  Insn i;
  cpu::CpuBus& bus;
  u64 next;  // the following instruction

  bool bits64() const { return s.code64(); }
  u8 cpl() const { return s.cpl(); }

  u64 gpr(unsigned number, unsigned size, bool high = false) const;
  void set_gpr(unsigned number, unsigned size, u64 value, bool high = false);

  OrFault<u64> load(SegReg seg, u64 offset, unsigned size);
  OrFault<void> store(SegReg seg, u64 offset, unsigned size, u64 value);

  // The stack: nothing moves until commit().
  unsigned stack_size() const { return bits64() ? 8 : s.seg[cpu::Ss].db() ? 4 : 2; }
  u64 stack_pointer() const { return gpr(cpu::Rsp, stack_size()); }
  void set_stack_pointer(u64 value) { write_masked(cpu::Rsp, stack_size(), value); }
  void write_masked(unsigned number, unsigned size, u64 value);
  OrFault<void> push(unsigned size, u64 value);
  OrFault<u64> pop(unsigned size);

  OrFault<void> jump(u64 target) {
    s.rip = target;
    return {};
  }
};

u64 Executor::gpr(unsigned number, unsigned size, bool high) const {
  return truncated(s.gpr[number] >> (high ? 8 : 0), size);
}

void Executor::set_gpr(unsigned number, unsigned size, u64 value, bool high) {
  u64& r = s.gpr[number];
  switch (size) {
    case 1: r = high ? with_bits(r, 15, 8, value) : with_bits(r, 7, 0, value); break;
    case 2: r = with_bits(r, 15, 0, value); break;
    case 4: r = truncated(value, 4); break;
    default: r = value;
  }
}

// A counter or pointer of the address size: narrow ones keep the rest of the register.
void Executor::write_masked(unsigned number, unsigned size, u64 value) {
  set_gpr(number, size, value);
}

OrFault<u64> Executor::load(SegReg seg, u64 offset, unsigned size) {
  return bus.load(TRY(cpu::segment_linear(s, seg, offset, size, PageAccess::Read)), size,
                  Privilege::Current);
}

OrFault<void> Executor::store(SegReg seg, u64 offset, unsigned size, u64 value) {
  return bus.store(TRY(cpu::segment_linear(s, seg, offset, size, PageAccess::Write)), size, value,
                   Privilege::Current);
}

OrFault<void> Executor::push(unsigned size, u64 value) {
  const u64 pointer = truncated(stack_pointer() - size, stack_size());
  TRY(store(cpu::Ss, pointer, size, value));
  set_stack_pointer(pointer);
  return {};
}

OrFault<u64> Executor::pop(unsigned size) {
  const u64 value = TRY(load(cpu::Ss, stack_pointer(), size));
  set_stack_pointer(truncated(stack_pointer() + size, stack_size()));
  return value;
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

OrFault<void> jump_far(Executor& x, const FarPointer& to) {
  if (!cpu::protected_mode(x.s)) {
    cpu::load_real_segment(x.s, cpu::Cs, to.selector);
    return x.jump(to.offset);
  }
  Descriptor d = TRY(direct_target(x, to));
  TRY(cpu::mark_accessed(x.bus, d));
  cpu::set_code_segment(x.s, d, to.selector, x.cpl());
  return x.jump(to.offset);
}

OrFault<void> call_far(Executor& x, const FarPointer& to) {
  const unsigned n = x.i.operand_size;
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

OrFault<void> return_far(Executor& x, u64 extra) {
  const unsigned n = x.i.operand_size;
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

OrFault<void> iret_real(Executor& x) {
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

OrFault<void> iret_to_v86(Executor& x, const Frame& f) {
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

OrFault<void> iret(Executor& x) {
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

OrFault<void> syscall(Executor& x) {
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

OrFault<void> sysret(Executor& x) {
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

OrFault<void> sysenter(Executor& x) {
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

OrFault<void> sysexit(Executor& x) {
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

constexpr u64 kCr4Known = cpu::kCr4Tsd | cpu::kCr4De | cpu::kCr4Pse | cpu::kCr4Pae | cpu::kCr4Mce |
                          cpu::kCr4Pge | cpu::kCr4Pce | cpu::kCr4Osfxsr | cpu::kCr4Osxmmexcpt;

u64 cr4_allowed(cpu::CpuBus& bus) {
  u64 allowed = kCr4Known;
  const cpu::CpuidLeaf one = bus.cpuid(1, 0), seven = bus.cpuid(7, 0);
  if (one.edx & (1u << 1)) allowed |= cpu::kCr4Vme | cpu::kCr4Pvi;
  if (one.ecx & (1u << 17)) allowed |= cpu::kCr4Pcide;
  if (one.ecx & (1u << 26)) allowed |= cpu::kCr4Osxsave;
  if (seven.ebx & 1) allowed |= cpu::kCr4Fsgsbase;
  if (seven.ebx & (1u << 7)) allowed |= cpu::kCr4Smep;
  if (seven.ebx & (1u << 20)) allowed |= cpu::kCr4Smap;
  if (seven.ecx & (1u << 2)) allowed |= cpu::kCr4Umip;
  if (seven.ecx & (1u << 3)) allowed |= cpu::kCr4Pke;
  if (seven.ecx & (1u << 16)) allowed |= cpu::kCr4La57;
  return allowed;
}

OrFault<void> write_cr0(Executor& x, u64 value) {
  cpu::State& s = x.s;
  constexpr u64 kKnown = cpu::kCr0Pe | cpu::kCr0Mp | cpu::kCr0Em | cpu::kCr0Ts | cpu::kCr0Et |
                         cpu::kCr0Ne | cpu::kCr0Wp | cpu::kCr0Am | cpu::kCr0Nw | cpu::kCr0Cd |
                         cpu::kCr0Pg;
  if (value >> 32) return cpu::general_protection();
  value = (value & kKnown) | cpu::kCr0Et;
  const bool paging = value & cpu::kCr0Pg, was = s.cr0 & cpu::kCr0Pg;
  if ((paging && !(value & cpu::kCr0Pe)) || ((value & cpu::kCr0Nw) && !(value & cpu::kCr0Cd)))
    return cpu::general_protection();
  if (paging && !was && (s.efer & cpu::kEferLme)) {
    if (!(s.cr4 & cpu::kCr4Pae) || s.seg[cpu::Cs].long_mode()) return cpu::general_protection();
    s.efer |= cpu::kEferLma;
  }
  if (!paging && was) {
    if (x.bits64() || (s.cr4 & cpu::kCr4Pcide)) return cpu::general_protection();
    s.efer &= ~u64{cpu::kEferLma};
  }
  if ((value ^ s.cr0) & (cpu::kCr0Pg | cpu::kCr0Wp | cpu::kCr0Pe))
    x.bus.flush_tlb(cpu::TlbScope::All, 0);
  s.cr0 = value;
  return {};
}

OrFault<void> write_cr3(Executor& x, u64 value) {
  const bool pcid = x.s.cr4 & cpu::kCr4Pcide;
  const bool keep = pcid && (value >> 63);
  if (pcid) value &= ~(u64{1} << 63);
  if (x.s.long_mode_active() && (value & ~low_mask(x.bus.physical_bits())))
    return cpu::general_protection();
  x.s.cr3 = value;
  if (!keep)
    x.bus.flush_tlb(pcid ? cpu::TlbScope::OnePcid : cpu::TlbScope::NonGlobal, value & 0xfff);
  return {};
}

OrFault<void> write_cr4(Executor& x, u64 value) {
  cpu::State& s = x.s;
  if (value & ~cr4_allowed(x.bus)) return cpu::general_protection();
  if (s.long_mode_active() && (!(value & cpu::kCr4Pae) || ((value ^ s.cr4) & cpu::kCr4La57)))
    return cpu::general_protection();
  if ((value & ~s.cr4 & cpu::kCr4Pcide) && (!s.long_mode_active() || (s.cr3 & 0xfff)))
    return cpu::general_protection();
  constexpr u64 kFlushing = cpu::kCr4Pge | cpu::kCr4Pae | cpu::kCr4Pse | cpu::kCr4Pcide |
                            cpu::kCr4Smep | cpu::kCr4Smap | cpu::kCr4Pke;
  if ((value ^ s.cr4) & kFlushing) x.bus.flush_tlb(cpu::TlbScope::All, 0);
  s.cr4 = value;
  return {};
}

}  // namespace

}  // namespace menura::jit::x86

namespace menura::x86 {

using jit::x86::Executor;

WEAK OrFault<void> far_jump(State& s, CpuBus& bus, FarPointer to, unsigned size, u64 next) {
  Executor x(s, bus, size, next);
  return jit::x86::jump_far(x, to);
}
WEAK OrFault<void> far_call(State& s, CpuBus& bus, FarPointer to, unsigned size, u64 next) {
  Executor x(s, bus, size, next);
  return jit::x86::call_far(x, to);
}
WEAK OrFault<void> far_return(State& s, CpuBus& bus, unsigned size, u16 release) {
  Executor x(s, bus, size);
  return jit::x86::return_far(x, release);
}
WEAK OrFault<void> interrupt_return(State& s, CpuBus& bus, unsigned size, u64 next) {
  Executor x(s, bus, size, next);
  return jit::x86::iret(x);
}
WEAK OrFault<void> system_call(State& s, CpuBus& bus, u64 next) {
  Executor x(s, bus, 8, next);
  return jit::x86::syscall(x);
}
WEAK OrFault<void> system_return(State& s, CpuBus& bus, unsigned size) {
  Executor x(s, bus, size);
  return jit::x86::sysret(x);
}
WEAK OrFault<void> system_enter(State& s, CpuBus& bus) {
  Executor x(s, bus, 4);
  return jit::x86::sysenter(x);
}
WEAK OrFault<void> system_exit(State& s, CpuBus& bus, unsigned size) {
  Executor x(s, bus, size);
  return jit::x86::sysexit(x);
}
WEAK bool resume_from_smm(State&, CpuBus&) { return false; }

WEAK OrFault<void> deliver_software(State& s, CpuBus& bus, u8 vector, u64 next,
                                    SoftwareInterrupt kind) {
  if (kind == SoftwareInterrupt::IntN && v86_mode(s) && iopl(s) < 3) return general_protection();
  return software_interrupt(s, bus, vector, next);
}

WEAK OrFault<void> check_io(const State& s, CpuBus& bus, u16 port, unsigned size) {
  const bool free = real_mode(s) || (protected_mode(s) && s.cpl() <= iopl(s));
  if (free) return {};
  const Segment& tss = s.tr;
  if (tss.limit < 103 || (tss.type() & 8) == 0) return general_protection();
  const u64 bitmap = TRY(bus.load(tss.base + 102, 2, Privilege::Supervisor));
  const u64 at = bitmap + port / 8;
  if (at + 1 > tss.limit) return general_protection();
  const u64 bits = TRY(bus.load(tss.base + at, 2, Privilege::Supervisor));
  if (bits >> (port & 7) & low_mask(size)) return general_protection();
  return {};
}

WEAK OrFault<u64> pushed_flags(const State& s, unsigned) {
  if (v86_mode(s) && iopl(s) < 3) return general_protection();
  return (s.rflags | 2) & ~static_cast<u64>(kRf | kVm);
}
WEAK OrFault<u64> popped_flags(const State& s, u64 value, unsigned size) {
  if (v86_mode(s) && iopl(s) < 3) return general_protection();
  u64 mask = kArithmeticFlags | kTf | kDf | kNt | kAc | kId;
  if (s.cpl() <= iopl(s)) mask |= kIf;
  if (s.cpl() == 0) mask |= kIopl;
  if (size == 2) mask &= 0xffff;
  return (merge(s.rflags, value, mask) | 2) & ~u64{kRf};
}
WEAK OrFault<void> clear_interrupt_flag(State& s) {
  if (protected_mode(s) ? s.cpl() > iopl(s) : v86_mode(s) && iopl(s) < 3)
    return general_protection();
  s.rflags &= ~u64{kIf};
  return {};
}
WEAK OrFault<void> set_interrupt_flag(State& s) {
  if (protected_mode(s) ? s.cpl() > iopl(s) : v86_mode(s) && iopl(s) < 3)
    return general_protection();
  if (!(s.rflags & kIf)) s.interrupt_shadow = true;
  s.rflags |= kIf;
  return {};
}

WEAK OrFault<u64> read_control(const State& s, CpuBus& bus, unsigned number) {
  switch (number) {
    case 0: return s.cr0;
    case 2: return s.cr2;
    case 3: return s.cr3;
    case 4: return s.cr4;
    case 8: return u64{bus.task_priority()};
    default: return undefined_opcode();
  }
}
WEAK OrFault<void> write_control(State& s, CpuBus& bus, unsigned number, u64 value) {
  Executor x(s, bus, s.code64() ? 8 : 4);
  switch (number) {
    case 0: return jit::x86::write_cr0(x, value);
    case 2: s.cr2 = value; return {};
    case 3: return jit::x86::write_cr3(x, value);
    case 4: return jit::x86::write_cr4(x, value);
    case 8:
      if (value > 15) return general_protection();
      s.cr8 = value;
      bus.set_task_priority(static_cast<u8>(value));
      return {};
    default: return undefined_opcode();
  }
}
WEAK OrFault<void> load_machine_status(State& s, CpuBus& bus, u16 value) {
  return write_control(s, bus, 0, (s.cr0 & ~u64{14}) | (value & 15));
}
WEAK void clear_task_switched(State& s) { s.cr0 &= ~u64{kCr0Ts}; }

// Breakpoints are stored and never hit.
WEAK OrFault<u64> read_debug(State& s, unsigned number) {
  if (number > 7 || ((number == 4 || number == 5) && (s.cr4 & kCr4De))) return undefined_opcode();
  return number < 4 ? s.dr[number] : number % 2 == 0 ? s.dr6 : s.dr7;
}
WEAK OrFault<void> write_debug(State& s, unsigned number, u64 value) {
  if (number > 7 || ((number == 4 || number == 5) && (s.cr4 & kCr4De))) return undefined_opcode();
  if (number >= 4 && value >> 32) return general_protection();
  if (number < 4)
    s.dr[number] = value;
  else if (number % 2 == 0)
    s.dr6 = (value & 0xe00f) | 0xffff'0ff0;
  else
    s.dr7 = (value & 0xffff'2bff) | 0x400;
  return {};
}

WEAK OrFault<u64> read_xcr(const State& s, u32 index) {
  if (index > 1) return general_protection();
  return s.xcr0;
}
WEAK OrFault<void> write_xcr(State& s, CpuBus&, u32 index, u64 value) {
  if (index != 0 || !(value & 1) || (value & ~u64{7}) || ((value & 4) && !(value & 2)))
    return general_protection();
  s.xcr0 = value;
  return {};
}

}  // namespace menura::x86
