// Which function executes which mnemonic, and the checks that rows ask for.
#include "jit/front/x86/execute.h"

#include <array>

#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

using M = Mnemonic;

struct Entry {
  Mnemonic mnemonic;
  Handler handler;
};

constexpr Entry kEntries[] = {
    // Transfers
    {M::Jmp, jump},
    {M::Jo, branch},
    {M::Jno, branch},
    {M::Jb, branch},
    {M::Jnb, branch},
    {M::Jz, branch},
    {M::Jnz, branch},
    {M::Jbe, branch},
    {M::Jnbe, branch},
    {M::Js, branch},
    {M::Jns, branch},
    {M::Jp, branch},
    {M::Jnp, branch},
    {M::Jl, branch},
    {M::Jnl, branch},
    {M::Jle, branch},
    {M::Jnle, branch},
    {M::Loop, count_branch},
    {M::Loope, count_branch},
    {M::Loopne, count_branch},
    {M::Jcxz, count_branch},
    {M::Call, call},
    {M::Ret, ret},
    {M::JmpFar, jump_far},
    {M::CallFar, call_far},
    {M::RetFar, ret_far},
    {M::Iret, iret},
    {M::Int, interrupt},
    {M::Int3, interrupt},
    {M::Int1, interrupt},
    {M::Into, into},
    {M::Bound, bound},
    {M::Ud0, undefined},
    {M::Ud1, undefined},
    {M::Ud2, undefined},
    {M::Vmcall, undefined},
    {M::Vmmcall, undefined},
    // Stack
    {M::Push, push},
    {M::Pop, pop},
    {M::Pusha, push_all},
    {M::Popa, pop_all},
    {M::Pushf, push_flags},
    {M::Popf, pop_flags},
    {M::Enter, enter},
    {M::Leave, leave},
    // Strings and ports
    {M::Movs, move_string},
    {M::Stos, store_string},
    {M::Lods, load_string},
    {M::Cmps, compare_string},
    {M::Scas, scan_string},
    {M::Ins, input_string},
    {M::Outs, output_string},
    {M::In, input},
    {M::Out, output},
    // Legacy and odd ones
    {M::Daa, decimal_adjust},
    {M::Das, decimal_adjust},
    {M::Aaa, ascii_adjust},
    {M::Aas, ascii_adjust},
    {M::Aam, ascii_divide},
    {M::Aad, ascii_multiply},
    {M::Salc, set_al_on_carry},
    {M::Xlat, translate_byte},
    {M::Cld, direction},
    {M::Std, direction},
    {M::Rdrand, random_number},
    {M::Rdseed, random_number},
    // Segments and descriptor tables
    {M::Sgdt, store_table},
    {M::Sidt, store_table},
    {M::Lgdt, load_table},
    {M::Lidt, load_table},
    {M::Sldt, store_selector},
    {M::Str, store_selector},
    {M::Lldt, load_system_segment},
    {M::Ltr, load_system_segment},
    {M::Lar, query_segment},
    {M::Lsl, query_segment},
    {M::Verr, verify_segment},
    {M::Verw, verify_segment},
    {M::Arpl, adjust_rpl},
    {M::Lds, load_far_pointer},
    {M::Les, load_far_pointer},
    {M::Lss, load_far_pointer},
    {M::Lfs, load_far_pointer},
    {M::Lgs, load_far_pointer},
    {M::Rdfsbase, segment_base},
    {M::Rdgsbase, segment_base},
    {M::Wrfsbase, segment_base},
    {M::Wrgsbase, segment_base},
    {M::Swapgs, swapgs},
    {M::Mov, move_system},
    // The rest of the system
    {M::Smsw, machine_status},
    {M::Lmsw, machine_status},
    {M::Clts, clear_ts},
    {M::Cli, interrupt_flag},
    {M::Sti, interrupt_flag},
    {M::Clac, access_check_flag},
    {M::Stac, access_check_flag},
    {M::Hlt, halt},
    {M::Monitor, monitor},
    {M::Monitorx, monitor},
    {M::Pause, relax},
    {M::Mwait, nothing},
    {M::Mwaitx, nothing},
    {M::Syscall, system_call},
    {M::Sysret, system_call},
    {M::Sysenter, system_call},
    {M::Sysexit, system_call},
    {M::Rsm, resume},
    {M::Rdmsr, model_register},
    {M::Wrmsr, model_register},
    {M::Rdtsc, time_stamp},
    {M::Rdtscp, time_stamp},
    {M::Rdpmc, performance_counter},
    {M::Rdpru, undefined},
    {M::Rdpid, processor_id},
    {M::Cpuid, identify},
    {M::Xgetbv, extended_control},
    {M::Xsetbv, extended_control},
    {M::Rdpkru, protection_keys},
    {M::Wrpkru, protection_keys},
    {M::Invlpg, invalidate_page},
    {M::Invpcid, invalidate_context},
    {M::Invd, nothing},
    {M::Wbinvd, nothing},
    {M::Wbnoinvd, nothing},
    {M::Clflush, flush_line},
    {M::Clflushopt, flush_line},
    {M::Clwb, flush_line},
    {M::Clzero, clear_line},
    // Floating point state
    {M::Fnstenv, save_environment},
    {M::Fnsave, save_environment},
    {M::Fldenv, load_environment},
    {M::Frstor, load_environment},
    {M::Fxsave, fxsave},
    {M::Fxsave64, fxsave},
    {M::Fxrstor, fxrstor},
    {M::Fxrstor64, fxrstor},
    {M::Xsave, xsave},
    {M::Xsave64, xsave},
    {M::Xsaveopt, xsave},
    {M::Xsaveopt64, xsave},
    {M::Xsavec, xsave},
    {M::Xsavec64, xsave},
    {M::Xsaves, xsave},
    {M::Xsaves64, xsave},
    {M::Xrstor, xrstor},
    {M::Xrstor64, xrstor},
    {M::Xrstors, xrstor},
    {M::Xrstors64, xrstor},
    // Masked memory
    {M::Maskmovq, store_masked_bytes},
    {M::Maskmovdqu, store_masked_bytes},
    {M::Vmaskmovdqu, store_masked_bytes},
    {M::Vmaskmovps, move_masked},
    {M::Vmaskmovpd, move_masked},
    {M::Vpmaskmovd, move_masked},
    {M::Vpmaskmovq, move_masked},
    {M::Vpgatherdd, gather},
    {M::Vpgatherdq, gather},
    {M::Vpgatherqd, gather},
    {M::Vpgatherqq, gather},
    {M::Vgatherdps, gather},
    {M::Vgatherdpd, gather},
    {M::Vgatherqps, gather},
    {M::Vgatherqpd, gather},
};

constexpr size_t kMnemonics = static_cast<size_t>(Mnemonic::Count);

constexpr std::array<Handler, kMnemonics> by_mnemonic() {
  std::array<Handler, kMnemonics> handlers{};
  for (const Entry& entry : kEntries) handlers[static_cast<size_t>(entry.mnemonic)] = entry.handler;
  return handlers;
}
constexpr std::array<Handler, kMnemonics> kHandlers = by_mnemonic();

// Mode and privilege, as the row's attributes say.
OrFault<void> check_privilege(const x86::State& s, const Row& row) {
  if ((row.attributes & attr::kProtected) && !x86::protected_mode(s))
    return x86::undefined_opcode();
  if (s.cpl() == 0) return {};
  if (row.attributes & attr::kCpl0) {
    switch (row.mnemonic) {
      case M::Clac:
      case M::Stac:
      case M::Monitor:
      case M::Mwait: return x86::undefined_opcode();
      default: return x86::general_protection();
    }
  }
  if ((row.attributes & attr::kUmip) && (s.cr4 & x86::kCr4Umip)) return x86::general_protection();
  return {};
}

}  // namespace

OrFault<void> check_unit(const x86::State& s, const Insn& insn) {
  const Row& row = row_of(insn);
  if (row.is_vex() && !x86::protected_mode(s)) return x86::undefined_opcode();
  const bool task_switched = s.cr0 & x86::kCr0Ts;
  switch (unit(row)) {
    case Unit::Integer: return {};
    case Unit::X87:
      // WAIT asks TS only when MP is set, and never EM.
      if (row.mnemonic == M::Fwait) {
        if (task_switched && (s.cr0 & x86::kCr0Mp)) return x86::device_not_available();
        return {};
      }
      if (row.mnemonic == M::Emms && (s.cr0 & x86::kCr0Em)) return x86::undefined_opcode();
      if (task_switched || (s.cr0 & x86::kCr0Em)) return x86::device_not_available();
      return {};
    case Unit::Mmx:
      if (s.cr0 & x86::kCr0Em) return x86::undefined_opcode();
      break;
    case Unit::Sse:
      if ((s.cr0 & x86::kCr0Em) || !(s.cr4 & x86::kCr4Osfxsr)) return x86::undefined_opcode();
      break;
    case Unit::Avx:
      if (!(s.cr4 & x86::kCr4Osxsave) || (s.xcr0 & 6) != 6) return x86::undefined_opcode();
      break;
  }
  if (task_switched) return x86::device_not_available();
  return {};
}

Outcome execute(x86::State& s, const Insn& insn, CpuBus& bus) {
  const Handler handler = kHandlers[static_cast<size_t>(insn.mnemonic)];
  if (!handler) return Outcome::Native;
  s.interrupt_shadow = false;
  TRY(check_privilege(s, row_of(insn)));
  TRY(check_unit(s, insn));
  u64 next = s.rip + insn.length;
  if (insn.mode != Mode::Bits64) next &= 0xffff'ffff;
  Execution x{s, insn, bus, next};
  const Outcome outcome = handler(x);
  if (outcome.what != Outcome::Faulted && outcome.what != Outcome::Repeat) s.rip = x.next;
  return outcome;
}

}  // namespace menura::jit::x86
