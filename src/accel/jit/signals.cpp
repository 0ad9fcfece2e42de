// Host signals raised by guest instructions that run natively: division, SIMD and x87 exceptions,
// misaligned SSE operands. They become exits of translated code at the guest instruction.
#include <signal.h>
#include <ucontext.h>

#include <mutex>

#include "accel/jit/jit_vcpu.h"

namespace menura::engine {

namespace {

// The kernel's register numbers of rax..r15 in the hardware's order.
constexpr std::array kHostRegister{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                   REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                   REG_R12, REG_R13, REG_R14, REG_R15};

void on_signal(int signal, siginfo_t* info, void* context) {
  if (running_vcpu && running_vcpu->handle_signal(signal, info->si_code, context)) return;
  // Not a guest's doing: let it happen again, with the default action.
  ::signal(signal, SIG_DFL);
}

u8 vector_of(int signal) {
  switch (signal) {
    case SIGFPE: return x86::kDe;
    case SIGILL: return x86::kUd;
    default: return x86::kGp;
  }
}

}  // namespace

void install_signal_handlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO;
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigaction(signal, &action, nullptr);
  });
}

bool JitVcpu::handle_signal(int signal, int, void* context) {
  gregset_t& regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const u8* at = reinterpret_cast<const u8*>(regs[REG_RIP]);
  if (!code_.cache().contains(at)) return false;
  u16 borrowed = 0;
  const u8* leave = code_.routines().exit_here;
  if (running_thunk_) {
    const u8* written = code_.cache().writable(at);
    for (const x64::Site& site : running_thunk_->sites)
      if (running_thunk_->code + site.offset == written) borrowed = site.borrowed;
    trapped_vector_ = vector_of(signal);
    block_->exit_info = x64::exit_info(ir::ExitReason::Done);
  } else {
    // The thread was in translated code, so it holds no lock.
    Translations::Place place;
    if (!code_.locate(at, place)) return false;
    borrowed = place.borrowed;
    if (place.flags_saved) leave = code_.routines().exit_here_saved;
    s_.rip = place.pc;
    block_->exit_info = x64::exit_info(ir::ExitReason::Step);
  }
  for (unsigned r = 0; r < 16; r++)
    if (borrowed >> r & 1) regs[kHostRegister[r]] = static_cast<greg_t>(s_.gpr[r]);
  regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(code_.cache().executable(leave)));
  return true;
}

}  // namespace menura::engine
