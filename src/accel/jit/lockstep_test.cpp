// Lockstep: agrees where translated code is right, whatever it does to memory, and says where it is not.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "accel/jit/lockstep_trial.h"

namespace menura::engine {
namespace {

JitOptions lockstep() { return {.code_size = 4 << 20, .lockstep = true}; }

// Stores of all sizes, one over the other and across pages, string operations, flags that are dead
// at a store, a division by zero, a store into the loop itself.
asm(R"(
.intel_syntax noprefix
.text
.global jit_lockstep_program, jit_lockstep_program_end
jit_lockstep_program:          # rbx = data, rcx rounds
  fninit
1: add rax, rcx
  mov [rbx], rax
  sub rdx, rax
  mov [rbx + 3], dx
  adc qword ptr [rbx], 5
  lock xadd [rbx + 4093], rdx
  push rcx
  lea rdi, [rbx + 64]
  mov rsi, rbx
  mov ecx, 40
  rep movsb
  mov ecx, 7
  rep stosq
  pop rcx
  movups xmm1, [rbx + 5]
  addps xmm0, xmm1
  movups [rbx + 4090], xmm0
  fild qword ptr [rbx]
  fistp qword ptr [rbx + 128]
  mov [rip + 2f + 2], ecx
2: mov r8d, 0x11111111
  xor r10, r8
  rdtsc
  xor edx, edx
  bts qword ptr [rbx + 256], rcx
  dec rcx
  jnz 1b
  div rcx
  hlt
jit_lockstep_program_end:
.att_syntax
)");
extern "C" const u8 jit_lockstep_program[], jit_lockstep_program_end[];

TEST(Lockstep, AgreesWithARightTranslator) {
  TestMachine m(lockstep());
  m.load(0, {jit_lockstep_program, jit_lockstep_program_end});
  x86::State s = flat_state(m.code());
  s.gpr[x86::Rbx] = m.data();
  s.gpr[x86::Rsp] = m.data() + kDataSize - 64;
  s.gpr[x86::Rcx] = 100;
  m.cpu().set(s);
  EXPECT_EQ(m.cpu().run(), Exit::Reset) << m.cpu().failure();  // #DE without an IDT
  m.cpu().get(s);
  EXPECT_EQ(s.gpr[x86::Rcx], 0u);
  const JitReport report = m.report();
  EXPECT_GT(report.vcpus[0].compared, 200u);
  EXPECT_GT(report.vcpus[0].compared_instructions, 1000u);
}

// Changes the first immediate 12345678h in the code cache to 12345679h: what the translator might do.
void spoil(TestMachine& m) {
  const u8 wanted[] = {0x78, 0x56, 0x34, 0x12};
  for (const CodeCache::Segment& segment : m.translations().cache().segments())
    for (u8* at = segment.begin; at + 4 <= segment.begin + segment.used(); at++)
      if (std::memcmp(at, wanted, 4) == 0) {
        *at = 0x79;
        return;
      }
  FAIL() << "no such constant in translated code";
}

// add rax, 12345678h; mov [rbx], rax; hlt
constexpr u8 kRegister[] = {0x48, 0x05, 0x78, 0x56, 0x34, 0x12, 0x48, 0x89, 0x03, 0xf4};
// mov dword [rbx], 12345678h; hlt
constexpr u8 kStore[] = {0xc7, 0x03, 0x78, 0x56, 0x34, 0x12, 0xf4};
// add rbx, 12345678h; jmp rbx
constexpr u8 kWay[] = {0x48, 0x81, 0xc3, 0x78, 0x56, 0x34, 0x12, 0xff, 0xe3};

TEST(Lockstep, StopsAtTheFirstDifference) {
  struct {
    std::span<const u8> code;
    std::string_view said;
  } const kCases[] = {{kRegister, "gpr[0]: 0x12345679 translated, 0x12345678 stepped"},
                      {kStore, "0x79 translated, 0x78 stepped"},
                      {kWay, "gpr[3]: "}};
  for (const auto& c : kCases) {
    TestMachine m(lockstep());
    m.load(0, c.code);
    m.load(9, std::array<u8, 1>{0xf4});
    x86::State s = flat_state(m.code());
    s.gpr[x86::Rbx] = c.code.data() == kWay ? m.code() + 9 - 0x1234'5678 : m.data();
    m.cpu().set(s);
    ASSERT_EQ(m.cpu().run(), Exit::Halted) << m.cpu().failure();
    spoil(m);
    m.cpu().set(s);
    ASSERT_EQ(m.cpu().run(), Exit::Failed);
    EXPECT_NE(m.cpu().failure().find(c.said), std::string::npos) << m.cpu().failure();
    EXPECT_NE(m.cpu().failure().find("Guest code\n"), std::string::npos);
  }
}

// MENURA_LOCKSTEP_TRIALS asks for more.
TEST(Lockstep, AgreesOnAnything) {
  const char* wanted = std::getenv("MENURA_LOCKSTEP_TRIALS");
  const int trials = wanted ? std::atoi(wanted) : 400;
  TestMachine m(lockstep());
  std::mt19937 random(1);
  for (int i = 0; i < trials; i++) {
    std::array<u8, 72> bytes;
    for (u8& b : bytes) b = static_cast<u8>(random());
    ASSERT_EQ(lockstep_trial(m, bytes), "") << "trial " << i;
  }
  EXPECT_GT(m.report().vcpus[0].compared_instructions, static_cast<u64>(trials));
}

TEST(Lockstep, IsRefusedWhereItCannotCompare) {
  Region root = Region::container("memory", Region::kWholeSpace),
         ports = Region::container("io", 1);
  AddressSpace memory("memory", root), io("io", ports);
  MachineLock lock;
  LiveTape tape;
  EXPECT_FALSE(JitAccelerator::create({memory, io, lock, 2}, tape, {.lockstep = true}));
  EXPECT_FALSE(
      JitAccelerator::create({memory, io, lock, 1}, tape, {.block_limit = 0, .lockstep = true}));
}

}  // namespace
}  // namespace menura::engine
