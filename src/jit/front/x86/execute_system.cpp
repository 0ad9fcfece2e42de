// Modes, interrupts, system calls, MSRs, counters, caches.
#include "cpu/x86/control.h"
#include "cpu/x86/flags.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/smm.h"
#include "cpu/x86/syscall.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

void set_edx_eax(Execution& x, u64 value) {
  x.set_gpr(x86::Rax, 4, value);
  x.set_gpr(x86::Rdx, 4, value >> 32);
}
u64 edx_eax(const Execution& x) { return x.gpr(x86::Rdx, 4) << 32 | x.gpr(x86::Rax, 4); }
u32 ecx(const Execution& x) { return static_cast<u32>(x.s.gpr[x86::Rcx]); }

}  // namespace

// SMSW, LMSW
Outcome machine_status(Execution& x) {
  if (x.insn.mnemonic == Mnemonic::Smsw)
    TRY(x.write(0, x.s.cr0));
  else
    TRY(x86::load_machine_status(x.s, x.bus, static_cast<u16>(TRY(x.read(0)))));
  return Outcome::Done;
}

Outcome clear_ts(Execution& x) {
  x86::clear_task_switched(x.s);
  return Outcome::Done;
}

// CLI, STI
Outcome interrupt_flag(Execution& x) {
  if (x.insn.mnemonic == Mnemonic::Sti)
    TRY(x86::set_interrupt_flag(x.s));
  else
    TRY(x86::clear_interrupt_flag(x.s));
  return Outcome::Done;
}

// CLAC, STAC
Outcome access_check_flag(Execution& x) {
  x.set_flags(x86::kAc, x.insn.mnemonic == Mnemonic::Stac ? u64{x86::kAc} : 0);
  return Outcome::Done;
}

Outcome halt(Execution& x) {
  x.s.activity = x86::Activity::Halted;
  return Outcome::Halted;
}

// MONITOR, MONITORX: touches the line like a byte load. MWAIT may end for any reason; here it always
// does at once, since nobody watches the line.
Outcome monitor(Execution& x) {
  if (ecx(x) != 0) return x86::general_protection();
  const u64 offset = x.gpr(x86::Rax, x.insn.address_size);
  const u64 at =
      TRY(x86::segment_linear(x.s, segment_register(x.insn.segment), offset, 1, PageAccess::Read));
  TRY(x.bus.probe(at, 1, PageAccess::Read, Privilege::Current));
  return Outcome::Done;
}

// SYSCALL, SYSRET, SYSENTER, SYSEXIT
Outcome system_call(Execution& x) {
  switch (x.insn.mnemonic) {
    case Mnemonic::Syscall: TRY(x86::system_call(x.s, x.bus, x.next)); break;
    case Mnemonic::Sysenter: TRY(x86::system_enter(x.s, x.bus)); break;
    case Mnemonic::Sysret: TRY(x86::system_return(x.s, x.bus, x.insn.operand_size)); break;
    default: TRY(x86::system_exit(x.s, x.bus, x.insn.operand_size)); break;
  }
  x.next = x.s.rip;
  return Outcome::Done;
}

// RSM
Outcome resume(Execution& x) {
  if (!x.s.in_smm) return x86::undefined_opcode();
  if (!x86::resume_from_smm(x.s, x.bus)) return Outcome::Shutdown;
  x.next = x.s.rip;
  return Outcome::Done;
}

// RDMSR, WRMSR
Outcome model_register(Execution& x) {
  if (x.insn.mnemonic == Mnemonic::Rdmsr)
    set_edx_eax(x, TRY(x86::read_msr(x.s, x.bus, ecx(x))));
  else
    TRY(x86::write_msr(x.s, x.bus, ecx(x), edx_eax(x)));
  return Outcome::Done;
}

// RDTSC, RDTSCP
Outcome time_stamp(Execution& x) {
  if ((x.s.cr4 & x86::kCr4Tsd) && x.s.cpl() != 0) return x86::general_protection();
  set_edx_eax(x, x.bus.tsc());
  if (x.insn.mnemonic == Mnemonic::Rdtscp) x.set_gpr(x86::Rcx, 4, x.s.tsc_aux);
  return Outcome::Done;
}

// RDPMC: there are no counters.
Outcome performance_counter(Execution&) { return x86::general_protection(); }

// RDPID
Outcome processor_id(Execution& x) {
  TRY(x.write(0, x.s.tsc_aux));
  return Outcome::Done;
}

// CPUID
Outcome identify(Execution& x) {
  const u32 number = static_cast<u32>(x.s.gpr[x86::Rax]), subleaf = ecx(x);
  x86::CpuidLeaf leaf = x.bus.cpuid(number, subleaf);
  // What follows the control registers.
  if (number == 1) leaf.ecx = with_bits(leaf.ecx, 27, 27, (x.s.cr4 & x86::kCr4Osxsave) != 0);
  if (number == 7 && subleaf == 0)
    leaf.ecx = with_bits(leaf.ecx, 4, 4, (x.s.cr4 & x86::kCr4Pke) != 0);
  if (number == 0xd && subleaf < 2 && leaf.ebx != 0)
    leaf.ebx = xsave_size(x, x.s.xcr0 | (subleaf == 1 ? x.s.xss : 0), subleaf == 1);
  x.set_gpr(x86::Rax, 4, leaf.eax);
  x.set_gpr(x86::Rbx, 4, leaf.ebx);
  x.set_gpr(x86::Rcx, 4, leaf.ecx);
  x.set_gpr(x86::Rdx, 4, leaf.edx);
  return Outcome::Done;
}

// XGETBV, XSETBV
Outcome extended_control(Execution& x) {
  if (!(x.s.cr4 & x86::kCr4Osxsave)) return x86::undefined_opcode();
  if (x.insn.mnemonic == Mnemonic::Xgetbv)
    set_edx_eax(x, TRY(x86::read_xcr(x.s, ecx(x))));
  else
    TRY(x86::write_xcr(x.s, x.bus, ecx(x), edx_eax(x)));
  return Outcome::Done;
}

// RDPKRU, WRPKRU
Outcome protection_keys(Execution& x) {
  if (!(x.s.cr4 & x86::kCr4Pke)) return x86::undefined_opcode();
  if (ecx(x) != 0) return x86::general_protection();
  if (x.insn.mnemonic == Mnemonic::Rdpkru) {
    set_edx_eax(x, x.s.pkru);
    return Outcome::Done;
  }
  if (x.gpr(x86::Rdx, 4) != 0) return x86::general_protection();
  x.s.pkru = static_cast<u32>(x.s.gpr[x86::Rax]);
  return Outcome::Done;
}

// INVLPG
Outcome invalidate_page(Execution& x) {
  const u64 linear = TRY(x.address(0, PageAccess::Read));
  x.bus.flush_page(linear, x86::current_pcid(x.s), true);
  return Outcome::Done;
}

// INVPCID
Outcome invalidate_context(Execution& x) {
  enum : u64 { kAddress, kSinglePcid, kEverything, kNonGlobal };
  std::array<u64, 2> descriptor{};
  TRY(x.bus.read(TRY(x.address(16, PageAccess::Read)),
                 std::as_writable_bytes(std::span(descriptor)), Privilege::Current));
  const u64 kind = x.get(operand(x.insn, 0));
  const u16 pcid = descriptor[0] & 0xfff;
  if (kind > kNonGlobal || (descriptor[0] >> 12) != 0) return x86::general_protection();
  if (kind <= kSinglePcid && pcid != 0 && !(x.s.cr4 & x86::kCr4Pcide))
    return x86::general_protection();
  switch (kind) {
    case kAddress:
      if (!x86::canonical(x.s, descriptor[1])) return x86::general_protection();
      x.bus.flush_page(descriptor[1], pcid, false);
      break;
    case kSinglePcid: x.bus.flush_tlb(x86::TlbScope::OnePcid, pcid); break;
    case kEverything: x.bus.flush_tlb(x86::TlbScope::All, 0); break;
    case kNonGlobal: x.bus.flush_tlb(x86::TlbScope::NonGlobal, 0); break;
  }
  return Outcome::Done;
}

// There are no caches to write back, and MWAIT need not wait.
Outcome nothing(Execution&) { return Outcome::Done; }

// PAUSE
Outcome relax(Execution& x) {
  x.bus.relax();
  return Outcome::Done;
}

// CLFLUSH, CLFLUSHOPT, CLWB: they fault like a byte load.
Outcome flush_line(Execution& x) {
  const u64 at = TRY(x.address(1, PageAccess::Read));
  TRY(x.bus.probe(at, 1, PageAccess::Read, Privilege::Current));
  return Outcome::Done;
}

// CLZERO
Outcome clear_line(Execution& x) {
  constexpr u64 kLine = 64;
  const u64 offset = x.gpr(x86::Rax, x.insn.address_size) & ~(kLine - 1);
  const u64 at = TRY(
      x86::segment_linear(x.s, segment_register(x.insn.segment), offset, kLine, PageAccess::Write));
  constexpr std::array<std::byte, kLine> kZeros{};
  TRY(x.bus.write(at, kZeros, Privilege::Current));
  return Outcome::Done;
}

}  // namespace menura::jit::x86
