// What the kernel's part of a guest does all the time and translated code does by itself: flags and
// interrupts, SWAPGS, STAC, the time stamp counter, bits in memory, repeated strings; and code that
// lies across two pages. Stepped (block limit 0) and translated give the same, as computed here.
#include <gtest/gtest.h>

#include "accel/jit/test_machine.h"

asm(R"(
.intel_syntax noprefix
.text
.macro program name
.global jit_inline_\name, jit_inline_\name\()_end
jit_inline_\name:
.endm
program flags
  cli
  stc
  pushfq
  pop rax
  sti
  xor ecx, ecx
  pushfq
  pop rbx
  stac
  pushfq
  pop rdx
  clac
  pushfq
  pop rsi
  hlt
jit_inline_flags_end:
program gs
  swapgs
  mov rax, gs:[0]
  swapgs
  mov rbx, gs:[0]
  swapgs
  hlt
jit_inline_gs_end:
program tsc
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov rsi, rax
  rdtsc
  shl rdx, 32
  or rax, rdx
  mov rdi, rax
  rdtscp
  shl rdx, 32
  or rax, rdx
  hlt
jit_inline_tsc_end:
program bits
  bts [rsi], rcx
  setc al
  bt dword ptr [rsi], edx
  setc ah
  btc word ptr [rsi], dx
  setc bl
  lock btr [rsi + 8], rcx
  setc bh
  hlt
jit_inline_bits_end:
program move_bytes
  rep movsb
  hlt
jit_inline_move_bytes_end:
program move_qwords
  rep movsq
  hlt
jit_inline_move_qwords_end:
program move_down
  std
  rep movsw
  cld
  hlt
jit_inline_move_down_end:
program store_dwords
  rep stosd
  hlt
jit_inline_store_dwords_end:
program rewrite                # rewrites the immediate of its own loop, rcx times
  xor eax, eax
  xor ebx, ebx
1: inc ebx
  mov [rip + 2f + 1], ebx
2: mov edx, 0x11111111
  add rax, rdx
  dec rcx
  jnz 1b
  hlt
jit_inline_rewrite_end:
.att_syntax
)");

#define PROGRAM(name)                                                         \
  extern "C" const menura::u8 jit_inline_##name[], jit_inline_##name##_end[]; \
  static const std::span<const menura::u8> name(jit_inline_##name, jit_inline_##name##_end)
PROGRAM(flags);
PROGRAM(gs);
PROGRAM(tsc);
PROGRAM(bits);
PROGRAM(move_bytes);
PROGRAM(move_qwords);
PROGRAM(move_down);
PROGRAM(store_dwords);
PROGRAM(rewrite);

namespace menura::engine {
namespace {

class Inline : public testing::TestWithParam<unsigned> {
 protected:
  x86::State run(std::span<const u8> program, x86::State s, u64 offset = 0) {
    m_.load(offset, program);
    s.gpr[x86::Rsp] = m_.data() + kDataSize - 64;
    s.rip = m_.code() + offset;
    m_.cpu().set(s);
    EXPECT_EQ(m_.cpu().run(), Exit::Halted);
    m_.cpu().get(s);
    return s;
  }
  void fill() {
    for (u64 i = 0; i < kDataSize; i++) m_.data_bytes()[i] = static_cast<u8>(i * 7 + (i >> 8));
  }
  std::vector<u8> data() { return {m_.data_bytes(), m_.data_bytes() + kDataSize}; }
  TestMachine m_{{.code_size = 4 << 20, .block_limit = GetParam()}};
};

TEST_P(Inline, FlagsArePushedAsTheyStand) {
  const x86::State s = run(flags, flat_state(0));
  const u64 rax = s.gpr[x86::Rax], rbx = s.gpr[x86::Rbx];
  EXPECT_FALSE(rax & x86::kIf);
  EXPECT_TRUE(rax & x86::kCf);
  EXPECT_TRUE(rbx & x86::kIf);
  EXPECT_EQ(rbx & x86::kArithmeticFlags, u64{x86::kZf | x86::kPf});
  EXPECT_FALSE(rbx & x86::kAc);
  EXPECT_EQ(s.gpr[x86::Rdx], rbx | x86::kAc);
  EXPECT_EQ(s.gpr[x86::Rsi], rbx);
}

TEST_P(Inline, SwapgsExchangesTheBases) {
  x86::State s = flat_state(0);
  fill();
  s.seg[x86::Gs].base = m_.data() + 0x100;
  s.kernel_gs_base = m_.data() + 0x200;
  const x86::State after = run(gs, s);
  u64 first, second;
  std::memcpy(&first, m_.data_bytes() + 0x200, 8);
  std::memcpy(&second, m_.data_bytes() + 0x100, 8);
  EXPECT_EQ(after.gpr[x86::Rax], first);
  EXPECT_EQ(after.gpr[x86::Rbx], second);
  EXPECT_EQ(after.seg[x86::Gs].base, s.kernel_gs_base);
  EXPECT_EQ(after.kernel_gs_base, s.seg[x86::Gs].base);
}

TEST_P(Inline, TheTimeStampCounterRises) {
  x86::State s = flat_state(0);
  s.tsc_aux = 0x1234'5678;
  for (int round = 0; round < 3; round++) {
    const x86::State after = run(tsc, s);
    EXPECT_LT(after.gpr[x86::Rsi], after.gpr[x86::Rdi]);
    EXPECT_LT(after.gpr[x86::Rdi], after.gpr[x86::Rax]);
    EXPECT_LT(after.gpr[x86::Rax], after.tsc);
    EXPECT_EQ(after.gpr[x86::Rcx], s.tsc_aux);
  }
}

TEST_P(Inline, BitsAreFoundBeyondTheirWord) {
  for (const i64 at : {i64{0}, i64{63}, i64{64}, i64{1000}, i64{-1}, i64{-700}, i64{32767 - 70}}) {
    fill();
    x86::State s = flat_state(0);
    s.gpr[x86::Rsi] = m_.data() + 0x1ffc;
    s.gpr[x86::Rcx] = static_cast<u64>(at);
    s.gpr[x86::Rdx] = static_cast<u64>(at) & 0xffff'ffff;
    std::vector<u8> expected = data();
    const auto bit = [&](i64 number, u64 base) -> std::pair<u8*, unsigned> {
      const i64 byte = static_cast<i64>(base) + (number >> 3);
      return {&expected[static_cast<size_t>(byte)], static_cast<unsigned>(number & 7)};
    };
    std::array<bool, 4> carry{};
    const auto [first, f] = bit(at, 0x1ffc);
    carry[0] = *first >> f & 1;
    *first = static_cast<u8>(*first | 1u << f);
    carry[1] = *first >> f & 1;
    const auto [word, w] = bit(static_cast<i16>(at), 0x1ffc);
    carry[2] = *word >> w & 1;
    *word = static_cast<u8>(*word ^ 1u << w);
    const auto [last, l] = bit(at, 0x1ffc + 8);
    carry[3] = *last >> l & 1;
    *last = static_cast<u8>(*last & ~(1u << l));
    const x86::State after = run(bits, s);
    EXPECT_EQ(data(), expected) << at;
    EXPECT_EQ(after.gpr[x86::Rax] & 0xffff, u64{carry[0]} | u64{carry[1]} << 8) << at;
    EXPECT_EQ(after.gpr[x86::Rbx] & 0xffff, u64{carry[2]} | u64{carry[3]} << 8) << at;
  }
}

struct Copy {
  std::span<const u8> program;
  int size;  // of an element; negative: downwards
  u64 from, to, count;
};

TEST_P(Inline, RepeatedMovesGoElementByElement) {
  const Copy copies[] = {
      {move_bytes, 1, 0x100, 0x2005, 0x1800}, {move_bytes, 1, 0xffe, 0x1001, 3000},
      {move_bytes, 1, 0x1003, 0x1000, 3000},  {move_bytes, 1, 0x500, 0x600, 0},
      {move_qwords, 8, 0x0ffd, 0x1ffb, 500},  {move_qwords, 8, 0x100, 0x104, 700},
      {move_down, -2, 0x1fff, 0x2101, 1500},  {move_down, -2, 0x1800, 0x17fe, 200},
  };
  for (const Copy& c : copies) {
    fill();
    std::vector<u8> expected = data();
    const u64 size = static_cast<u64>(std::abs(c.size));
    for (u64 i = 0; i < c.count; i++) {
      const u64 by = c.size > 0 ? i * size : 0 - i * size;
      std::vector<u8> element(size);
      std::memcpy(element.data(), &expected[c.from + by], size);
      std::memcpy(&expected[c.to + by], element.data(), size);
    }
    x86::State s = flat_state(0);
    s.gpr[x86::Rsi] = m_.data() + c.from;
    s.gpr[x86::Rdi] = m_.data() + c.to;
    s.gpr[x86::Rcx] = c.count;
    const x86::State after = run(c.program, s);
    const u64 moved = c.count * static_cast<u64>(static_cast<i64>(c.size));
    EXPECT_EQ(after.gpr[x86::Rsi], s.gpr[x86::Rsi] + moved);
    EXPECT_EQ(after.gpr[x86::Rdi], s.gpr[x86::Rdi] + moved);
    EXPECT_EQ(after.gpr[x86::Rcx], 0u);
    EXPECT_EQ(data(), expected) << c.from << " to " << c.to;
  }
}

TEST_P(Inline, RepeatedStoresFill) {
  fill();
  std::vector<u8> expected = data();
  const u32 value = 0x89ab'cdef;
  for (u64 i = 0; i < 2500; i++) std::memcpy(&expected[0x7fe + 4 * i], &value, 4);
  x86::State s = flat_state(0);
  s.gpr[x86::Rdi] = m_.data() + 0x7fe;
  s.gpr[x86::Rcx] = 2500;
  s.gpr[x86::Rax] = value;
  const x86::State after = run(store_dwords, s);
  EXPECT_EQ(after.gpr[x86::Rdi], s.gpr[x86::Rdi] + 10000);
  EXPECT_EQ(data(), expected);
}

// Every instruction of the loop, and what it writes, comes to lie across the pages' border once.
TEST_P(Inline, CodeInTwoPagesIsRewritten) {
  for (u64 before = 1; before < rewrite.size(); before++) {
    x86::State s = flat_state(0);
    s.gpr[x86::Rcx] = 30;
    EXPECT_EQ(run(rewrite, s, 0x1000 - before).gpr[x86::Rax], 30u * 31 / 2) << before;
  }
}

INSTANTIATE_TEST_SUITE_P(BlockSizes, Inline, testing::Values(0, 1, 64));

}  // namespace
}  // namespace menura::engine
