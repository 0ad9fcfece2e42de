// Transfers, stack, loops, and code that changes: small programs with known results.
#include <gtest/gtest.h>

#include <chrono>

#include "accel/jit/test_machine.h"

// Programs for the guest, taken from this binary. Each ends with HLT, its result in RAX.
asm(R"(
.intel_syntax noprefix
.text
.global jit_test_fib, jit_test_fib_end
jit_test_fib:                  # rdi = n
  call 1f
  hlt
1: cmp rdi, 2
  jae 2f
  mov rax, rdi
  ret
2: push rbx
  push rdi
  dec rdi
  call 1b
  mov rbx, rax
  pop rdi
  sub rdi, 2
  call 1b
  add rax, rbx
  pop rbx
  ret
jit_test_fib_end:
.global jit_test_sum, jit_test_sum_end
jit_test_sum:                  # adds rcx qwords at rsi, flags alive across loads
  xor eax, eax
  xor edx, edx
1: adc rax, [rsi]
  lea rsi, [rsi + 8]
  dec rcx
  jnz 1b
  adc rax, 0
  hlt
jit_test_sum_end:
.global jit_test_indirect, jit_test_indirect_end
jit_test_indirect:             # rcx rounds over three targets by a table on the stack
  lea rax, [rip + 10f]
  push rax
  lea rax, [rip + 11f]
  push rax
  lea rax, [rip + 12f]
  push rax
  xor eax, eax
  mov r10, rcx
1: mov r11, r10
  and r11, 3
  cmp r11, 3
  je 13f
  call [rsp + 8 * r11]
13: dec r10
  jnz 1b
  add rsp, 24
  hlt
10: add rax, 1
  ret
11: add rax, 100
  ret
12: mov r15, 10000
  add rax, r15
  ret 0
jit_test_indirect_end:
.global jit_test_smc, jit_test_smc_end
jit_test_smc:                  # rewrites the immediate of its own loop, rcx times
  xor eax, eax
  xor ebx, ebx
1: inc ebx
  mov [rip + 2f + 1], ebx
2: mov edx, 0x11111111
  add rax, rdx
  dec rcx
  jnz 1b
  hlt
jit_test_smc_end:
.att_syntax
)");

extern "C" {
extern const menura::u8 jit_test_fib[], jit_test_fib_end[], jit_test_sum[], jit_test_sum_end[],
    jit_test_indirect[], jit_test_indirect_end[], jit_test_smc[], jit_test_smc_end[];
}

namespace menura::engine {
namespace {

class Control : public testing::TestWithParam<unsigned> {
 protected:
  u64 run(const u8* begin, const u8* end, x86::State s, u64 offset = 0) {
    m_.load(offset, {begin, end});
    s.gpr[x86::Rsp] = m_.data() + kDataSize - 64;
    s.rip = m_.code() + offset;
    m_.cpu().set(s);
    EXPECT_EQ(m_.cpu().run(), Exit::Halted);
    m_.cpu().get(s);
    EXPECT_EQ(s.gpr[x86::Rsp], m_.data() + kDataSize - 64);
    return s.gpr[x86::Rax];
  }
  TestMachine m_{{.code_size = 4 << 20, .block_limit = GetParam()}};
};

TEST_P(Control, RecursionReturnsToItsCallers) {
  x86::State s = flat_state(0);
  s.gpr[x86::Rdi] = 15;
  EXPECT_EQ(run(jit_test_fib, jit_test_fib_end, s), 610u);
}

// The loop lies across two pages.
TEST_P(Control, CrossesPages) {
  x86::State s = flat_state(0);
  s.gpr[x86::Rdi] = 12;
  EXPECT_EQ(run(jit_test_fib, jit_test_fib_end, s, 0x1000 - 20), 144u);
}

TEST_P(Control, FlagsSurviveChecks) {
  x86::State s = flat_state(0);
  u64 expected = 0, carry = 0;
  for (unsigned i = 0; i < 100; i++) {
    const u64 v = i % 3 ? ~u64{i} : 0x1234'5678'9abc'def0 * i;
    std::memcpy(m_.data_bytes() + 8 * i, &v, 8);
    const unsigned __int128 sum = static_cast<unsigned __int128>(expected) + v + carry;
    expected = static_cast<u64>(sum);
    carry = static_cast<u64>(sum >> 64);
  }
  s.gpr[x86::Rsi] = m_.data();
  s.gpr[x86::Rcx] = 100;
  EXPECT_EQ(run(jit_test_sum, jit_test_sum_end, s), expected + carry);
}

TEST_P(Control, IndirectCallsFindTheirTargets) {
  x86::State s = flat_state(0);
  s.gpr[x86::Rcx] = 400;
  EXPECT_EQ(run(jit_test_indirect, jit_test_indirect_end, s), 100u * 10101);
}

TEST_P(Control, CodeThatRewritesItselfRunsAsWritten) {
  x86::State s = flat_state(0);
  s.gpr[x86::Rcx] = 50;
  EXPECT_EQ(run(jit_test_smc, jit_test_smc_end, s), 50u * 51 / 2);
}

INSTANTIATE_TEST_SUITE_P(BlockSizes, Control, testing::Values(1, 2, 64));

}  // namespace
}  // namespace menura::engine
