#include "accel/jit/host_oracle.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

extern "C" void menura_oracle_run(menura::engine::NativeState* state, const void* code);
extern "C" void menura_oracle_back();

// Offsets of NativeState: gpr 0, flags 128, fx 512, ymm 1024.
asm(R"(
.intel_syntax noprefix
.local menura_oracle_state, menura_oracle_rsp, menura_oracle_code, menura_oracle_rdi
.comm menura_oracle_state, 8
.comm menura_oracle_rsp, 8
.comm menura_oracle_code, 8
.comm menura_oracle_rdi, 8
.text
.global menura_oracle_run
menura_oracle_run:
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  mov [rip + menura_oracle_state], rdi
  mov [rip + menura_oracle_rsp], rsp
  mov [rip + menura_oracle_code], rsi
  fxrstor64 [rdi + 512]
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups ymm\n, [rdi + 1024 + 32 * \n]
  .endr
  push qword ptr [rdi + 128]
  popfq
  mov rax, [rdi]
  mov rcx, [rdi + 8]
  mov rdx, [rdi + 16]
  mov rbx, [rdi + 24]
  mov rbp, [rdi + 40]
  mov rsi, [rdi + 48]
  .irp n, 8,9,10,11,12,13,14,15
  mov r\n, [rdi + 8 * \n]
  .endr
  mov rdi, [rdi + 56]
  jmp [rip + menura_oracle_code]
.global menura_oracle_back
menura_oracle_back:
  mov [rip + menura_oracle_rdi], rdi
  mov rdi, [rip + menura_oracle_state]
  mov [rdi], rax
  mov [rdi + 8], rcx
  mov [rdi + 16], rdx
  mov [rdi + 24], rbx
  mov [rdi + 40], rbp
  mov [rdi + 48], rsi
  .irp n, 8,9,10,11,12,13,14,15
  mov [rdi + 8 * \n], r\n
  .endr
  mov rsp, [rip + menura_oracle_rsp]
  pushfq
  pop qword ptr [rdi + 128]
  mov rax, [rip + menura_oracle_rdi]
  mov [rdi + 56], rax
  .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
  vmovups [rdi + 1024 + 32 * \n], ymm\n
  .endr
  fxsave64 [rdi + 512]
  vzeroupper
  fninit
  cld
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  ret
.att_syntax
)");

namespace menura::engine {

namespace {

sigjmp_buf escape;
void on_signal(int signal) { siglongjmp(escape, signal); }
constexpr int kSignals[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS};

}  // namespace

HostOracle::HostOracle() {
  void* at =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ensure(at != MAP_FAILED, "memory for the oracle's code");
  memory_ = static_cast<u8*>(at);
}

HostOracle::~HostOracle() { munmap(memory_, 4096); }

int HostOracle::run(NativeState& state, std::span<const u8> code) {
  std::memcpy(memory_, code.data(), code.size());
  u8* tail = memory_ + code.size();
  const u8 jump[] = {0xff, 0x25, 0, 0, 0, 0};  // jmp [rip]
  std::memcpy(tail, jump, sizeof jump);
  void (*back)() = menura_oracle_back;
  std::memcpy(tail + sizeof jump, &back, sizeof back);
  struct sigaction old[4], action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_NODEFER;
  for (int i = 0; i < 4; i++) sigaction(kSignals[i], &action, &old[i]);
  const int signal = sigsetjmp(escape, 0);
  if (signal == 0) menura_oracle_run(&state, memory_);
  for (int i = 0; i < 4; i++) sigaction(kSignals[i], &old[i], nullptr);
  if (signal == 0) return -1;
  asm volatile("fninit; cld");
  const u32 mxcsr = 0x1f80;
  asm volatile("ldmxcsr %0" ::"m"(mxcsr));
  return signal == SIGFPE ? 0 : signal == SIGILL ? 6 : 13;
}

}  // namespace menura::engine
