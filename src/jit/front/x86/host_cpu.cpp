#include "jit/front/x86/host_cpu.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstring>

#include "base/format.h"

namespace menura::jit::x86::host_cpu {
namespace {

constexpr std::size_t kPage = 4096;

// Low addresses, reachable from 32-bit code.
u8* const kCode = reinterpret_cast<u8*>(0x20000000);
u8* const kEnd = kCode + kPage;  // not executable
u8* const kData = reinterpret_cast<u8*>(0x30000000);
u8* const kDataEnd = kData + kPage;  // not accessible

// Written by the signal handlers of this one thread.
struct Run {
  ucontext_t before;
  u8 fpu[512];
  u64 start = 0;
  u64 operand = 0;
  bool compatibility = false;
  bool running = false;
  Verdict verdict;
};
Run g_run;

// The kernel has interrupted us to run the handler: return into the instruction instead.
void enter(ucontext_t& context) {
  g_run.before = context;
  std::memcpy(g_run.fpu, context.uc_mcontext.fpregs, sizeof g_run.fpu);
  greg_t* regs = context.uc_mcontext.gregs;
  for (int reg : {REG_RAX, REG_RDX, REG_RBX, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
                  REG_R11, REG_R12, REG_R13, REG_R14, REG_R15})
    regs[reg] = reinterpret_cast<greg_t>(kData) + 1024;
  regs[REG_RBX] = static_cast<greg_t>(g_run.operand);
  regs[REG_RCX] = 0;
  regs[REG_RSP] = reinterpret_cast<greg_t>(kData) + 2048;
  regs[REG_RIP] = static_cast<greg_t>(g_run.start);
  if (g_run.compatibility) regs[REG_CSGSFS] = (regs[REG_CSGSFS] & ~greg_t{0xFFFF}) | 0x23;
  g_run.running = true;
}

void leave(ucontext_t& context, const siginfo_t& info) {
  greg_t* regs = context.uc_mcontext.gregs;
  constexpr u64 kPageFault = 14, kFetch = 16;
  u64 address = reinterpret_cast<u64>(info.si_addr);
  u64 trap = static_cast<u64>(regs[REG_TRAPNO]);
  u64 error = static_cast<u64>(regs[REG_ERR]);
  bool fetch = trap == kPageFault && (error & kFetch) != 0;
  bool data = trap == kPageFault && (error & kFetch) == 0;
  g_run.verdict = {.trap = trap,
                   .error = error,
                   .wants_more = fetch && static_cast<u64>(regs[REG_RIP]) == g_run.start &&
                                 address == reinterpret_cast<u64>(kEnd),
                   .data_fault = data && address >= reinterpret_cast<u64>(kDataEnd) &&
                                 address < reinterpret_cast<u64>(kDataEnd) + kPage};
  std::memcpy(regs, g_run.before.uc_mcontext.gregs, sizeof g_run.before.uc_mcontext.gregs);
  std::memcpy(context.uc_mcontext.fpregs, g_run.fpu, sizeof g_run.fpu);
  g_run.running = false;
}

void handle(int signal, siginfo_t* info, void* context) {
  if (signal == SIGUSR1)
    enter(*static_cast<ucontext_t*>(context));
  else if (g_run.running)
    leave(*static_cast<ucontext_t*>(context), *info);
  else
    _exit(1);  // our own mistake: the parent reports the death
}

}  // namespace

void prepare() {
  auto map = [](u8* at) {
    void* got = mmap(at, 2 * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != at) _exit(2);
  };
  map(kCode);
  map(kData);
  if (mprotect(kCode, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) _exit(3);
  if (mprotect(kDataEnd, kPage, PROT_NONE) != 0) _exit(3);
  // Long mode leaves DS and ES empty; 32-bit code needs them.
  asm volatile("mov %0, %%ds\n mov %0, %%es" ::"r"(0x2B));
  static u8 stack[128 * 1024];
  stack_t alternate = {.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int signal : {SIGUSR1, SIGSEGV, SIGILL, SIGTRAP, SIGBUS, SIGFPE})
    sigaction(signal, &action, nullptr);
}

Verdict run(const Trial& trial) {
  u8* start = kEnd - trial.length;
  std::memset(kCode, 0xCC, kPage);  // where backward jumps land
  std::memcpy(start, trial.code.data(), trial.length);
  std::memset(kData, 0, kPage);
  g_run.compatibility = trial.compatibility;
  g_run.start = reinterpret_cast<u64>(start);
  g_run.operand = reinterpret_cast<u64>(kDataEnd) - trial.room;
  raise(SIGUSR1);
  return g_run.verdict;
}

std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return "cannot make a pipe";
  pid_t child = fork();
  if (child < 0) return "cannot fork";
  if (child == 0) {
    close(ends[0]);
    alarm(60);
    prepare();
    std::string report = body();
    for (std::size_t at = 0; at < report.size();) {
      ssize_t wrote = write(ends[1], report.data() + at, report.size() - at);
      if (wrote <= 0) _exit(4);
      at += static_cast<std::size_t>(wrote);
    }
    _exit(0);
  }
  close(ends[1]);
  std::string report;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    report.append(buffer, static_cast<std::size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? report : report + format("the child ended with status {:#x}", status);
}

}  // namespace menura::jit::x86::host_cpu
