#include "accel/jit/native_cpu.h"

#include <signal.h>
#include <ucontext.h>

#include <cstring>

#include "base/check.h"

namespace menura::engine {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constexpr std::array kGpr{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr u64 kCode64 = 0x33, kCode32 = 0x23, kData = 0x2b;  // Linux' selectors
constexpr size_t kXsaveHeader = 512, kYmmHigh = 576;         // XSAVE's standard form

// One run at a time on this thread.
struct Run {
  enum { Idle, Begin, Running } phase = Idle;
  const CpuRegisters* start = nullptr;
  bool bits32 = false;
  NativeOutcome* end = nullptr;
  gregset_t host;
  std::vector<u8> host_fpu;
};
thread_local Run this_run;
struct sigaction earlier[NSIG];

// Signal frames end with the software's own word behind the XSAVE area: its size is told inside.
size_t fpu_size(const u8* area) {
  u32 size;
  std::memcpy(&size, area + 464 + 16, 4);  // sw_reserved.xstate_size
  return size < kYmmHigh + 256 ? kYmmHigh + 256 : size;
}

void put(const CpuRegisters& r, bool bits32, gregset_t& g, u8* fpu) {
  for (size_t i = 0; i < 16; i++) g[kGpr[i]] = static_cast<greg_t>(r.gpr[i]);
  g[REG_RIP] = static_cast<greg_t>(r.rip);
  g[REG_EFL] = static_cast<greg_t>(r.rflags | 0x200);
  g[REG_CSGSFS] = static_cast<greg_t>((bits32 ? kCode32 : kCode64) | kData << 48);
  std::memcpy(fpu, &r.fcw, 2);
  std::memcpy(fpu + 2, &r.fsw, 2);
  std::memset(fpu + 4, 0, 20);
  fpu[4] = r.ftw;
  std::memcpy(fpu + 24, &r.mxcsr, 4);
  for (size_t i = 0; i < 8; i++) std::memcpy(fpu + 32 + 16 * i, r.st[i].data(), 10);
  for (size_t i = 0; i < 16; i++) {
    std::memcpy(fpu + 160 + 16 * i, r.ymm[i].data(), 16);
    std::memcpy(fpu + kYmmHigh + 16 * i, r.ymm[i].data() + 2, 16);
  }
  u64 present;
  std::memcpy(&present, fpu + kXsaveHeader, 8);
  present |= 7;
  std::memcpy(fpu + kXsaveHeader, &present, 8);
}

void get(NativeOutcome& out, const gregset_t& g, const u8* fpu) {
  CpuRegisters& r = out.registers;
  for (size_t i = 0; i < 16; i++) r.gpr[i] = static_cast<u64>(g[kGpr[i]]);
  r.rip = static_cast<u64>(g[REG_RIP]);
  r.rflags = static_cast<u64>(g[REG_EFL]);
  out.vector = static_cast<u8>(g[REG_TRAPNO]);
  out.error_code = static_cast<u32>(g[REG_ERR]);
  out.cr2 = static_cast<u64>(g[REG_CR2]);
  std::memcpy(&r.fcw, fpu, 2);
  std::memcpy(&r.fsw, fpu + 2, 2);
  r.ftw = fpu[4];
  std::memcpy(&r.mxcsr, fpu + 24, 4);
  u64 present;
  std::memcpy(&present, fpu + kXsaveHeader, 8);
  for (size_t i = 0; i < 8; i++) std::memcpy(r.st[i].data(), fpu + 32 + 16 * i, 10);
  for (size_t i = 0; i < 16; i++) {
    r.ymm[i] = {};
    if (present & 2) std::memcpy(r.ymm[i].data(), fpu + 160 + 16 * i, 16);
    if (present & 4) std::memcpy(r.ymm[i].data() + 2, fpu + kYmmHigh + 16 * i, 16);
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  // Signals leave these as they were, and sigreturn does not restore NT and ID.
  constexpr u64 kAc = 1u << 18, kNt = 1u << 14, kId = 1u << 21;
  __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(kAc | kNt | kId));
  ucontext_t* uc = static_cast<ucontext_t*>(context);
  Run& run = this_run;
  if (run.phase == Run::Idle) {
    // Somebody else's: translated code of the vCPU that shares this thread.
    if (earlier[signal].sa_flags & SA_SIGINFO && earlier[signal].sa_sigaction)
      return earlier[signal].sa_sigaction(signal, info, context);
    ::signal(signal, SIG_DFL);
    return;
  }
  gregset_t& g = uc->uc_mcontext.gregs;
  u8* fpu = reinterpret_cast<u8*>(uc->uc_mcontext.fpregs);
  if (run.phase == Run::Begin) {
    std::memcpy(&run.host, &g, sizeof g);
    run.host_fpu.assign(fpu, fpu + fpu_size(fpu));
    put(*run.start, run.bits32, g, fpu);
    run.phase = Run::Running;
    return;
  }
  get(*run.end, g, fpu);
  std::memcpy(&g, &run.host, sizeof g);
  std::memcpy(fpu, run.host_fpu.data(), run.host_fpu.size());
  run.phase = Run::Idle;
}

}  // namespace

NativeCpu::NativeCpu() : signal_stack_(256 * 1024) {
  stack_t stack{.ss_sp = signal_stack_.data(), .ss_flags = 0, .ss_size = signal_stack_.size()};
  ensure(sigaltstack(&stack, nullptr) == 0, "the oracle's signal stack is usable");
  for (const int signal : kSignals) {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    ensure(sigaction(signal, &action, &earlier[signal]) == 0, "the oracle handles signals");
  }
}

NativeCpu::~NativeCpu() {
  for (const int signal : kSignals) sigaction(signal, &earlier[signal], nullptr);
  stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&none, nullptr);
}

NativeOutcome NativeCpu::run(const CpuRegisters& registers, bool bits32) {
  NativeOutcome end;
  this_run.start = &registers;
  this_run.bits32 = bits32;
  this_run.end = &end;
  u64 gs;
  asm volatile("rdgsbase %0; wrgsbase %1" : "=&r"(gs) : "r"(u64{0}));
  asm volatile("mov %0, %%ds; mov %0, %%es" ::"r"(static_cast<u16>(kData)));
  this_run.phase = Run::Begin;
  asm volatile("int3" ::: "memory", "cc");
  asm volatile("mov %0, %%ds; mov %0, %%es" ::"r"(u16{0}));
  asm volatile("wrgsbase %0" ::"r"(gs));
  return end;
}

}  // namespace menura::engine
