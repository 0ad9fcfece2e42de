// Control, debug and model-specific registers, CPUID, time stamps, the TLB, HLT.
#include <utility>

#include "base/bits.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/paging.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

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

Outcome mov_control(Executor& x, bool load) {
  const unsigned size = x.bits64() ? 8 : 4;
  const Operand c = operand(x.i, load ? 0 : 1), r = operand(x.i, load ? 1 : 0);
  if (load) {
    const u64 value = x.gpr(r.number, size);
    switch (c.number) {
      case 0: TRY(write_cr0(x, value)); break;
      case 2: x.s.cr2 = value; break;
      case 3: TRY(write_cr3(x, value)); break;
      case 4: TRY(write_cr4(x, value)); break;
      case 8:
        if (value > 15) return cpu::general_protection();
        x.s.cr8 = value;
        x.bus.set_task_priority(static_cast<u8>(value));
        break;
      default: return cpu::undefined_opcode();
    }
    return x.done();
  }
  u64 value;
  switch (c.number) {
    case 0: value = x.s.cr0; break;
    case 2: value = x.s.cr2; break;
    case 3: value = x.s.cr3; break;
    case 4: value = x.s.cr4; break;
    case 8: value = x.bus.task_priority(); break;
    default: return cpu::undefined_opcode();
  }
  x.set_gpr(r.number, size, value);
  return x.done();
}

// Breakpoints are stored and never hit.
Outcome mov_debug(Executor& x, bool load) {
  cpu::State& s = x.s;
  const unsigned size = x.bits64() ? 8 : 4;
  const Operand d = operand(x.i, load ? 0 : 1), r = operand(x.i, load ? 1 : 0);
  unsigned number = d.number;
  if (number == 4 || number == 5) {
    if (s.cr4 & cpu::kCr4De) return cpu::undefined_opcode();
    number += 2;
  }
  if (number > 7) return cpu::undefined_opcode();
  u64& reg = number < 4 ? s.dr[number] : number == 6 ? s.dr6 : s.dr7;
  if (!load) {
    x.set_gpr(r.number, size, reg);
    return x.done();
  }
  const u64 value = x.gpr(r.number, size);
  if (number >= 6 && value >> 32) return cpu::general_protection();
  reg = number == 6   ? (value & 0xe00f) | 0xffff'0ff0
        : number == 7 ? (value & 0xffff'2bff) | 0x400
                      : value;
  return x.done();
}

Outcome cpuid(Executor& x) {
  cpu::State& s = x.s;
  const u32 leaf = static_cast<u32>(s.gpr[cpu::Rax]), subleaf = static_cast<u32>(s.gpr[cpu::Rcx]);
  cpu::CpuidLeaf r = x.bus.cpuid(leaf, subleaf);
  // What follows the registers.
  if (leaf == 1) r.ecx = with_bits(r.ecx, 27, 27, (s.cr4 & cpu::kCr4Osxsave) != 0);
  if (leaf == 7 && subleaf == 0) r.ecx = with_bits(r.ecx, 4, 4, (s.cr4 & cpu::kCr4Pke) != 0);
  if (leaf == 0xd && subleaf < 2 && r.ebx) r.ebx = (s.xcr0 & 4) ? 832 : 576;
  s.gpr[cpu::Rax] = r.eax;
  s.gpr[cpu::Rbx] = r.ebx;
  s.gpr[cpu::Rcx] = r.ecx;
  s.gpr[cpu::Rdx] = r.edx;
  return x.done();
}

void set_pair(Executor& x, u64 value) {
  x.s.gpr[cpu::Rax] = value & 0xffff'ffff;
  x.s.gpr[cpu::Rdx] = value >> 32;
}
u64 pair(const Executor& x) { return x.gpr(cpu::Rax, 4) | x.gpr(cpu::Rdx, 4) << 32; }

Outcome timestamp(Executor& x) {
  if ((x.s.cr4 & cpu::kCr4Tsd) && x.cpl() != 0) return cpu::general_protection();
  set_pair(x, x.bus.tsc());
  if (x.i.mnemonic == Mnemonic::Rdtscp) x.s.gpr[cpu::Rcx] = x.s.tsc_aux & 0xffff'ffff;
  return x.done();
}

Outcome extended_control(Executor& x) {
  if (!(x.s.cr4 & cpu::kCr4Osxsave)) return cpu::undefined_opcode();
  const u32 index = static_cast<u32>(x.s.gpr[cpu::Rcx]);
  if (x.i.mnemonic == Mnemonic::Xgetbv) {
    if (index > 1) return cpu::general_protection();
    set_pair(x, x.s.xcr0);  // all that is enabled counts as in use
    return x.done();
  }
  const u64 value = pair(x);
  const u64 known = x.bus.cpuid(0xd, 0).eax;
  if (index != 0 || !(value & 1) || (value & ~known) || (value & 6) == 4)
    return cpu::general_protection();
  x.s.xcr0 = value;
  return x.done();
}

Outcome protection_keys(Executor& x) {
  if (!(x.s.cr4 & cpu::kCr4Pke)) return cpu::undefined_opcode();
  if (x.gpr(cpu::Rcx, 4) != 0) return cpu::general_protection();
  if (x.i.mnemonic == Mnemonic::Rdpkru) {
    set_pair(x, x.s.pkru);
    return x.done();
  }
  if (x.gpr(cpu::Rdx, 4) != 0) return cpu::general_protection();
  x.s.pkru = static_cast<u32>(x.s.gpr[cpu::Rax]);
  return x.done();
}

// Any address is good: no fault, and nothing happens for one that is not canonical.
Outcome invalidate_page(Executor& x) {
  const u64 base = x.i.segment == Segment::None ? 0 : x.s.seg[static_cast<u8>(x.i.segment)].base;
  const bool based = !x.bits64() || x.i.segment == Segment::Fs || x.i.segment == Segment::Gs;
  const u64 linear = effective_address(x.s, x.i) + (based ? base : 0);
  x.bus.flush_page(linear, static_cast<u16>(x.s.cr3 & 0xfff), true);
  return x.done();
}

Outcome invalidate_pcid(Executor& x) {
  const u64 at = TRY(x.address(16, PageAccess::Read));
  const u64 low = TRY(x.bus.load(at, 8, Privilege::Current)),
            linear = TRY(x.bus.load(at + 8, 8, Privilege::Current));
  if (low >> 12) return cpu::general_protection();
  const u16 pcid = static_cast<u16>(low);
  switch (x.gpr(x.i.reg, x.bits64() ? 8 : 4)) {
    case 0:
      if (!cpu::canonical(x.s, linear)) return cpu::general_protection();
      x.bus.flush_page(linear, pcid, false);
      break;
    case 1: x.bus.flush_tlb(cpu::TlbScope::OnePcid, pcid); break;
    case 2: x.bus.flush_tlb(cpu::TlbScope::All, 0); break;
    case 3: x.bus.flush_tlb(cpu::TlbScope::NonGlobal, 0); break;
    default: return cpu::general_protection();
  }
  return x.done();
}

Outcome fs_gs_base(Executor& x) {
  if (!(x.s.cr4 & cpu::kCr4Fsgsbase)) return cpu::undefined_opcode();
  const bool gs = x.i.mnemonic == Mnemonic::Rdgsbase || x.i.mnemonic == Mnemonic::Wrgsbase;
  const bool load = x.i.mnemonic == Mnemonic::Wrfsbase || x.i.mnemonic == Mnemonic::Wrgsbase;
  u64& base = x.s.seg[gs ? cpu::Gs : cpu::Fs].base;
  const unsigned size = x.i.operand_size == 8 ? 8 : 4;
  if (!load) {
    x.set_gpr(x.i.rm, size, base);
    return x.done();
  }
  const u64 value = x.gpr(x.i.rm, size);
  if (!cpu::canonical(x.s, value)) return cpu::general_protection();
  base = value;
  return x.done();
}

Outcome load_machine_status(Executor& x) {
  const u64 value = TRY(x.read(0));
  // LMSW sets PE but cannot clear it.
  TRY(write_cr0(x, (x.s.cr0 & ~u64{14}) | (value & 15)));
  return x.done();
}

Outcome halt(Executor& x) {
  x.done();
  x.s.activity = cpu::Activity::Halted;
  return Outcome::Halted;
}

Outcome flush_line(Executor& x) {
  TRY(x.bus.probe(TRY(x.address(1, PageAccess::Read)), 1, PageAccess::Read, Privilege::Current));
  return x.done();
}

}  // namespace

Outcome execute_system(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Mov:
      if (operand(x.i, 0).cls == RegClass::Control) return mov_control(x, true);
      if (operand(x.i, 1).cls == RegClass::Control) return mov_control(x, false);
      if (operand(x.i, 0).cls == RegClass::Debug) return mov_debug(x, true);
      if (operand(x.i, 1).cls == RegClass::Debug) return mov_debug(x, false);
      return Outcome::Native;
    case Mnemonic::Clts: x.s.cr0 &= ~u64{cpu::kCr0Ts}; return x.done();
    case Mnemonic::Lmsw: return load_machine_status(x);
    case Mnemonic::Smsw: TRY(x.write(0, x.s.cr0)); return x.done();
    case Mnemonic::Cpuid: return cpuid(x);
    case Mnemonic::Rdmsr:
      set_pair(x, TRY(cpu::read_msr(x.s, x.bus, static_cast<u32>(x.s.gpr[cpu::Rcx]))));
      return x.done();
    case Mnemonic::Wrmsr:
      TRY(cpu::write_msr(x.s, x.bus, static_cast<u32>(x.s.gpr[cpu::Rcx]), pair(x)));
      return x.done();
    case Mnemonic::Rdtsc:
    case Mnemonic::Rdtscp: return timestamp(x);
    case Mnemonic::Rdpid: x.set_gpr(x.i.rm, 8, x.s.tsc_aux); return x.done();
    case Mnemonic::Rdpmc: return cpu::general_protection();
    case Mnemonic::Xgetbv:
    case Mnemonic::Xsetbv: return extended_control(x);
    case Mnemonic::Rdpkru:
    case Mnemonic::Wrpkru: return protection_keys(x);
    case Mnemonic::Swapgs: std::swap(x.s.seg[cpu::Gs].base, x.s.kernel_gs_base); return x.done();
    case Mnemonic::Rdfsbase:
    case Mnemonic::Rdgsbase:
    case Mnemonic::Wrfsbase:
    case Mnemonic::Wrgsbase: return fs_gs_base(x);
    case Mnemonic::Invlpg: return invalidate_page(x);
    case Mnemonic::Invpcid: return invalidate_pcid(x);
    case Mnemonic::Invd:
    case Mnemonic::Wbinvd:
    case Mnemonic::Wbnoinvd: return x.done();  // no cache to write back
    case Mnemonic::Clflush:
    case Mnemonic::Clflushopt:
    case Mnemonic::Clwb: return flush_line(x);
    case Mnemonic::Hlt: return halt(x);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
