// One check of translated code serves accesses that lie near one another: the same comes out as when
// every instruction is executed by itself, also where these accesses reach over the end of a page, into
// nothing, or into code.
#include <gtest/gtest.h>

#include "accel/jit/test_machine.h"

asm(R"(
.intel_syntax noprefix
.text
.global jit_pointer_program, jit_pointer_program_end
jit_pointer_program:           # rdi = data, rsp = stack
  push rax
  push r15
  push rbp
  sub rsp, 40
  mov [rsp + 8], rcx
  mov rdx, [rdi]
  add rdx, [rdi + 8]
  mov [rdi + 16], edx
  mov [rdi + 24], dh
  mov r10, [rdi + 32]
  add r10, [rdi - 8]
  mov [rdi + 40], r10
  mov r11, [rsp + 8]
  xor [rdi + 48], r11
  add rdi, 8
  movups xmm0, [rdi + 8]
  movups [rdi + 48], xmm0
  cmp rdx, rcx
  mov r9, [rdi + 16]
  jb 1f
  adc r9, [rdi + 3]
  add [rsp + 16], r9
1: lea rdi, [rdi + 1]
  mov al, [rdi]
  mov ah, [rdi + 1]
  mov [rdi + 2], ax
  movzx esi, byte ptr [rdi + rcx + 4]
  mov [rdi + rcx + 6], sil
  inc rcx
  add rcx, 3
  mov r8, [rdi + rcx + 4]
  mov [rdi + rcx - 9], r8
  push qword ptr [rdi + 5]
  pop r12
  xchg rdi, rbx
  mov r13, [rdi]
  xchg rdi, rbx
  mov r14, [rdi]
  add rsp, 40
  pop rbp
  pop r15
  pop rax
  hlt
jit_pointer_program_end:
.att_syntax
)");

namespace menura::engine {
namespace {

extern "C" const u8 jit_pointer_program[], jit_pointer_program_end[];

struct Outcome {
  std::vector<u64> registers;  // pointers from the data on
  std::vector<u8> data;
  bool operator==(const Outcome&) const = default;
};

class Runner {
 public:
  explicit Runner(const JitOptions& options) : m_(options) {
    m_.load(0, {jit_pointer_program, jit_pointer_program_end});
  }
  Outcome run(u64 data, u64 stack) {
    for (u64 i = 0; i < kDataSize; i++) m_.data_bytes()[i] = static_cast<u8>(i * 7 + (i >> 8));
    x86::State s = flat_state(m_.code());
    for (u64 r = 0; r < 16; r++) s.gpr[r] = 0x1111'2222'3333'4444 * (r + 1);
    s.gpr[x86::Rcx] = 5;
    s.gpr[x86::Rdi] = m_.data() + data;
    s.gpr[x86::Rbx] = m_.data() + 0x100;
    s.gpr[x86::Rsp] = m_.data() + stack;
    m_.cpu().set(s);
    EXPECT_EQ(m_.cpu().run(), Exit::Halted) << m_.cpu().failure();
    m_.cpu().get(s);
    Outcome out{{s.gpr.begin(), s.gpr.end()}, {m_.data_bytes(), m_.data_bytes() + kDataSize}};
    for (const auto r : {x86::Rdi, x86::Rbx, x86::Rsp}) out.registers[r] -= m_.data();
    out.registers.push_back(s.rflags);
    return out;
  }
  const TestMachine& machine() const { return m_; }

 private:
  TestMachine m_;
};

void compare(Runner& translated, Runner& stepped, u64 data, u64 stack) {
  EXPECT_EQ(translated.run(data, stack), stepped.run(data, stack)) << data << ' ' << stack;
}

JitOptions one_by_one() { return {.code_size = 4 << 20, .block_limit = 0}; }

TEST(Pointers, ServeAccessesOfOnePageAndOfTwo) {
  Runner translated({.code_size = 4 << 20}), stepped(one_by_one());
  for (u64 before = 0; before < 100; before += 3) {
    compare(translated, stepped, 0x1000 - before, 0x2800);
    compare(translated, stepped, 0x1800, 0x3000 + 120 - before);
    compare(translated, stepped, 0x1000 + 60 - before, 0x3000 + before);
  }
}

TEST(Pointers, ServeNothingBeyondMemory) {
  Runner translated({.code_size = 4 << 20}), stepped(one_by_one());
  for (u64 before = 40; before < 140; before += 5)
    compare(translated, stepped, kDataSize - before, 0x2800);
}

TEST(Pointers, AreNotKeptWithoutThePass) {
  opt::PassSet passes;
  passes.pointers = false;
  Runner without({.code_size = 4 << 20, .passes = passes}), with({.code_size = 4 << 20});
  EXPECT_EQ(without.run(0x800, 0x2800), with.run(0x800, 0x2800));
  EXPECT_GT(without.machine().report().code.host_bytes, with.machine().report().code.host_bytes);
}

TEST(Pointers, AgreeInLockstep) {
  Runner both({.code_size = 4 << 20, .lockstep = true});
  for (u64 before = 0; before < 100; before += 7) both.run(0x1000 - before, 0x2000 + 2 * before);
}

}  // namespace
}  // namespace menura::engine
