// The routines around translated code: the way in, the ways out, and the slow paths of memory.
#include <cpuid.h>
#include <sys/auxv.h>

#include <array>

#include "base/check.h"
#include "jit/back/x64/assembler.h"
#include "jit/back/x64/emitter.h"
#include "jit/ir/tables.h"

namespace menura::x64 {

namespace {

// Callee-saved registers of the System V ABI besides rsp; six of them leave rsp 8 off alignment.
constexpr std::array kCalleeSaved{3, 5, 12, 13, 14, 15};
// Pinned registers that a C++ function may destroy.
constexpr std::array kCallerSaved{0, 1, 2, 6, 7, 8, 9};

class RoutineWriter {
 public:
  RoutineWriter(const Layout& layout, u8* at, size_t room) : a_(layout, at, room) {}

  Routines write(const Callees& callees) {
    Routines r;
    r.enter = enter();
    a_.align(16);
    r.miss = a_.getCurr();
    search_targets();
    r.look_up = a_.getCurr();
    a_.mov(a_.t1, exit_info(ir::ExitReason::Next));
    exits(r);
    r.step = step(callees.step);
    for (size_t log = 0; log < 4; log++) {
      r.repeat_move[log] = repeat_move(static_cast<int>(log));
      r.repeat_store[log] = repeat_store(static_cast<int>(log));
    }
    r.slow_load = slow(callees.load);
    r.slow_store = slow(callees.store);
    r.size = a_.getSize();
    return r;
  }

 private:
  Xbyak::Ymm ymm(int n) { return Xbyak::Ymm(n); }
  void load_vectors(int shift = 0) {
    for (int i = 0; i < 16; ++i)
      a_.vmovups(ymm(i), a_.ptr[a_.rsp + (a_.layout().vectors + 32 * i + shift)]);
  }
  void store_vectors(int shift = 0) {
    for (int i = 0; i < 16; ++i)
      a_.vmovups(a_.ptr[a_.rsp + (a_.layout().vectors + 32 * i + shift)], ymm(i));
  }

  const u8* enter() {
    const u8* at = a_.getCurr();
    for (int r : kCalleeSaved) a_.push(Xbyak::Reg64(r));
    a_.mov(a_.ptr[a_.rdi + a_.layout().host_rsp], a_.rsp);
    a_.mov(a_.ptr[a_.rdi + a_.layout().code], a_.rsi);
    a_.mov(a_.rsp, a_.rdi);
    a_.ldmxcsr(a_.field32(a_.layout().mxcsr));
    load_vectors();
    a_.unpack_flags();  // for a thunk; all else takes them from there
    for (unsigned g = 0; g < 16; ++g)
      if (is_pinned(g)) a_.mov(a_.host(g), a_.home(g));
    a_.mov(a_.t0, a_.field(a_.layout().rip));  // for entries that verify it
    a_.jmp(a_.field(a_.layout().code));
    return at;
  }

  // r10 = pc, flags saved. Jumps to the target's entry, which the jump cache learns; or falls through.
  void search_targets() {
    const Layout& l = a_.layout();
    const Xbyak::Reg64 t0 = a_.t0, t1 = a_.t1;
    Xbyak::Label unknown;
    a_.mov(a_.home(0), a_.rax);
    a_.mov(a_.home(1), a_.rcx);
    a_.mov(a_.ecx, a_.r10d);
    a_.shr(a_.ecx, 8);
    a_.and_(a_.ecx, (ir::kCodePages - 1) << 4);
    a_.mov(a_.rax, t0);
    a_.and_(a_.rax, -4096);
    a_.gs();
    a_.cmp(a_.rax, a_.ptr[a_.rcx + l.code_pages]);
    a_.jne(unknown);
    a_.gs();
    a_.mov(a_.rax, a_.ptr[a_.rcx + (l.code_pages + 8)]);
    a_.or_(a_.rax, a_.field(l.code_tag));
    a_.mov(t1, a_.rax);
    a_.shr(t1, 8);
    a_.xor_(t1, t0);
    a_.and_(a_.r11d, ir::kTargets - 1);
    static_assert(sizeof(ir::Target) == 32);
    a_.shl(a_.r11d, 5);
    a_.add(t1, a_.field(l.targets));
    a_.cmp(t0, a_.ptr[t1 + offsetof(ir::Target, pc)]);
    a_.jne(unknown);
    a_.cmp(a_.rax, a_.ptr[t1 + offsetof(ir::Target, tag)]);
    a_.jne(unknown);
    a_.mov(t1, a_.ptr[t1 + offsetof(ir::Target, entry)]);
    a_.cmp(a_.byte[t1], ir::kDiverted);
    a_.je(unknown);
    a_.mov(a_.eax, ir::kJumpMask);
    a_.pext(a_.rax, t0, a_.rax);
    a_.gs();
    a_.mov(a_.ptr[a_.rax * 8 + l.jumps], t1);
    a_.mov(a_.rax, a_.home(0));
    a_.mov(a_.rcx, a_.home(1));
    a_.jmp(t1);
    a_.L(unknown);
    a_.mov(a_.rax, a_.home(0));
    a_.mov(a_.rcx, a_.home(1));
  }

  // look_up falls into the first.
  void exits(Routines& r) {
    Xbyak::Label here_saved;
    r.exit_saved = a_.getCurr();
    a_.mov(a_.field(a_.layout().rip), a_.t0);
    a_.mov(a_.field(a_.layout().exit_info), a_.t1);
    a_.jmp(here_saved, Xbyak::CodeGenerator::T_NEAR);
    r.exit = a_.getCurr();
    a_.mov(a_.field(a_.layout().rip), a_.t0);
    a_.mov(a_.field(a_.layout().exit_info), a_.t1);
    r.exit_here = a_.getCurr();
    a_.save_flags(a_.t0);
    r.exit_here_saved = a_.getCurr();
    a_.L(here_saved);
    a_.mov(a_.home(0), a_.rax);
    for (unsigned g = 1; g < 16; ++g)
      if (is_pinned(g)) a_.mov(a_.home(g), a_.host(g));
    a_.stmxcsr(a_.field32(a_.layout().mxcsr));
    store_vectors();
    a_.vzeroupper();
    a_.L(leave_);
    a_.mov(a_.rsp, a_.field(a_.layout().host_rsp));
    for (size_t i = kCalleeSaved.size(); i-- > 0;) a_.pop(Xbyak::Reg64(kCalleeSaved[i]));
    a_.ret();
  }

  // All of the guest into the vCPU block, the engine's function, and on where it says.
  const u8* step(StepPath function) {
    constexpr int kReturn = 8;
    const Layout& l = a_.layout();
    a_.align(16);
    const u8* at = a_.getCurr();
    a_.mov(a_.ptr[a_.rsp + (l.rip + kReturn)], a_.t0);
    for (unsigned g = 0; g < 16; ++g)
      if (is_pinned(g)) a_.mov(a_.ptr[a_.rsp + (l.gpr + 8 * g + kReturn)], a_.host(g));
    store_vectors(kReturn);
    a_.mov(a_.rsi, a_.t1);
    a_.pop(a_.rdx);
    a_.L(step_);
    a_.stmxcsr(a_.field32(l.mxcsr));
    a_.vzeroupper();
    a_.mov(a_.rdi, a_.rsp);
    a_.mov(a_.rsp, a_.field(l.host_rsp));
    a_.push(a_.rdi);
    a_.mov(a_.rax, reinterpret_cast<u64>(function));
    a_.call(a_.rax);
    a_.pop(a_.rsp);
    a_.test(a_.rax, a_.rax);
    a_.jz(leave_, Xbyak::CodeGenerator::T_NEAR);
    a_.mov(a_.field(l.code), a_.rax);
    a_.ldmxcsr(a_.field32(l.mxcsr));
    load_vectors();
    for (unsigned g = 0; g < 16; ++g)
      if (is_pinned(g)) a_.mov(a_.host(g), a_.home(g));
    a_.mov(a_.t0, a_.field(l.rip));
    a_.jmp(a_.field(l.code));
    return at;
  }

  // r10 = address of an element: r11 = its host memory, r10 = its offset into the page; or out.
  void element(u32 table, int log, Xbyak::Label& out) {
    a_.rorx(a_.t1, a_.t0, 8);
    // and r11d, gs:[tlb_mask], which Xbyak cannot say
    for (int byte : {0x65, 0x44, 0x23, 0x1c, 0x25}) a_.db(byte);
    a_.dd(a_.layout().tlb_mask);
    a_.gs();
    a_.sub(a_.t0, a_.ptr[a_.t1 + table]);
    a_.cmp(a_.t0, 4096u - (1u << log));
    a_.ja(out, Xbyak::CodeGenerator::T_NEAR);
    a_.gs();
    a_.mov(a_.t1, a_.ptr[a_.t1 + (table + 8)]);
    a_.add(a_.t1, a_.t0);
  }
  // to = how many elements from offset r10 on lie in the page.
  void left_in_page(const Xbyak::Reg64& to, int log) {
    a_.mov(to.cvt32(), 4096);
    a_.sub(to.cvt32(), a_.r10d);
    if (log) a_.shr(to.cvt32(), log);
  }
  void repeated(int log, bool store) {
    a_.db(0xf3);
    if (log == 1) a_.db(0x66);
    if (log == 3) a_.db(0x48);
    a_.db((store ? 0xaa : 0xa4) | (log ? 1 : 0));
  }
  // Page by page, at most kPages of them: interrupts may wait.
  template <class Part>
  const u8* repeat_routine(std::initializer_list<int> used, Part part) {
    constexpr int kReturn = 8, kPages = 16;
    const Layout& l = a_.layout();
    Xbyak::Label again, out, done;
    a_.align(16);
    const u8* at = a_.getCurr();
    a_.test(a_.rcx, a_.rcx);
    a_.jz(done, Xbyak::CodeGenerator::T_NEAR);
    a_.test(a_.byte[a_.rsp + (l.rflags + 1 + kReturn)], 4);  // DF
    a_.jnz(done, Xbyak::CodeGenerator::T_NEAR);
    for (int r : used) a_.mov(a_.ptr[a_.rsp + (l.gpr + 8 * r + kReturn)], Xbyak::Reg64(r));
    a_.mov(a_.r8d, kPages);
    a_.L(again);
    part(out);
    a_.test(a_.rcx, a_.rcx);
    a_.jz(out);
    a_.dec(a_.r8d);
    a_.jnz(again, Xbyak::CodeGenerator::T_NEAR);
    a_.L(out);
    for (int r : used) a_.mov(Xbyak::Reg64(r), a_.ptr[a_.rsp + (l.gpr + 8 * r + kReturn)]);
    a_.L(done);
    a_.ret();
    return at;
  }

  const u8* repeat_move(int log) {
    return repeat_routine({0, 2, 3, 5, 8}, [&](Xbyak::Label& out) {
      a_.mov(a_.t0, a_.rsi);
      element(a_.layout().load_table, log, out);
      a_.mov(a_.rdx, a_.t1);
      left_in_page(a_.rax, log);
      a_.mov(a_.t0, a_.rdi);
      element(a_.layout().store_table, log, out);
      left_in_page(a_.rbx, log);
      a_.cmp(a_.rax, a_.rbx);
      a_.cmova(a_.rax, a_.rbx);
      a_.cmp(a_.rax, a_.rcx);
      a_.cmova(a_.rax, a_.rcx);
      a_.mov(a_.rbx, a_.rcx);
      a_.mov(a_.t0, a_.rsi);
      a_.mov(a_.rbp, a_.rdi);
      a_.mov(a_.rcx, a_.rax);
      a_.mov(a_.rsi, a_.rdx);
      a_.mov(a_.rdi, a_.t1);
      repeated(log, false);
      a_.lea(a_.rsi, a_.ptr[a_.t0 + a_.rax * (1 << log)]);
      a_.lea(a_.rdi, a_.ptr[a_.rbp + a_.rax * (1 << log)]);
      a_.mov(a_.rcx, a_.rbx);
      a_.sub(a_.rcx, a_.rax);
    });
  }

  const u8* repeat_store(int log) {
    return repeat_routine({3, 5, 8}, [&](Xbyak::Label& out) {
      a_.mov(a_.t0, a_.rdi);
      element(a_.layout().store_table, log, out);
      left_in_page(a_.rbx, log);
      a_.cmp(a_.rbx, a_.rcx);
      a_.cmova(a_.rbx, a_.rcx);
      a_.mov(a_.rbp, a_.rcx);
      a_.mov(a_.t0, a_.rdi);
      a_.mov(a_.rcx, a_.rbx);
      a_.mov(a_.rdi, a_.t1);
      repeated(log, true);
      a_.lea(a_.rdi, a_.ptr[a_.t0 + a_.rbx * (1 << log)]);
      a_.mov(a_.rcx, a_.rbp);
      a_.sub(a_.rcx, a_.rbx);
    });
  }

  // Called from a check's cold part with r10 = address, r11 = size. Comes back with r10 = host
  // memory and r11 = 0, or has the instruction executed outside.
  const u8* slow(SlowPath function) {
    constexpr int kReturn = 8;  // the return address lies below the vCPU block
    const u32 gpr = a_.layout().gpr + kReturn;
    Xbyak::Label failed;
    a_.align(16);
    const u8* at = a_.getCurr();
    for (int r : kCallerSaved) a_.mov(a_.ptr[a_.rsp + (gpr + 8 * r)], Xbyak::Reg64(r));
    store_vectors(kReturn);
    a_.vzeroupper();
    a_.lea(a_.rdi, a_.ptr[a_.rsp + kReturn]);
    a_.mov(a_.rsi, a_.t0);
    a_.mov(a_.edx, a_.r11d);
    a_.mov(a_.rcx, a_.ptr[a_.rsp]);
    a_.mov(a_.rsp, a_.ptr[a_.rdi + a_.layout().host_rsp]);
    a_.push(a_.rdi);
    a_.mov(a_.rax, reinterpret_cast<u64>(function));
    a_.call(a_.rax);
    a_.pop(a_.rdi);
    a_.lea(a_.rsp, a_.ptr[a_.rdi - kReturn]);
    load_vectors(kReturn);
    a_.mov(a_.t0, a_.rax);
    a_.xor_(a_.r11d, a_.r11d);
    a_.test(a_.rax, a_.rax);
    for (int r : kCallerSaved) a_.mov(Xbyak::Reg64(r), a_.ptr[a_.rsp + (gpr + 8 * r)]);
    a_.jz(failed);
    a_.ret();
    a_.L(failed);
    a_.lea(a_.rsp, a_.ptr[a_.rsp + kReturn]);
    for (unsigned g = 0; g < 16; ++g)
      if (is_pinned(g)) a_.mov(a_.home(g), a_.host(g));
    a_.xor_(a_.esi, a_.esi);
    a_.xor_(a_.edx, a_.edx);
    a_.jmp(step_, Xbyak::CodeGenerator::T_NEAR);
    return at;
  }

  Assembler a_;
  Xbyak::Label leave_;  // the guest's state is saved: back to the engine
  Xbyak::Label step_;   // the same, with rsi and rdx as StepPath takes them
};

}  // namespace

Routines write_routines(const Layout& layout, u8* at, size_t room, const Callees& callees) {
  Xbyak::ClearError();
  const Routines routines = RoutineWriter(layout, at, room).write(callees);
  ensure(Xbyak::GetError() == Xbyak::ERR_NONE, "the assembler took all routines");
  return routines;
}

std::string_view missing_host_feature() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_AVX) || !(ecx & bit_OSXSAVE))
    return "AVX";
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & bit_BMI2)) return "BMI2";
  if (!(getauxval(AT_HWCAP2) & 2)) return "FSGSBASE enabled by the kernel";
  return {};
}

}  // namespace menura::x64
