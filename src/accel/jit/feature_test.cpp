// Instructions of features that the vCPU's CPUID does not show are #UD, translated and stepped.
#include <gtest/gtest.h>

#include "accel/jit/test_machine.h"
#include "base/code_log.h"
#include "cpu/x86/model.h"

namespace menura::engine {
namespace {

struct Gated {
  const char* feature;
  std::vector<u8> code;
};

const std::vector<Gated>& gated() {
  static const std::vector<Gated> all{
      {"avx2", {0xc5, 0xfd, 0xfe, 0xc1}},          // vpaddd ymm0, ymm0, ymm1
      {"avx", {0xc5, 0xf9, 0xfe, 0xc1}},           // vpaddd xmm0, xmm0, xmm1
      {"aes", {0x66, 0x0f, 0x38, 0xdc, 0xc1}},     // aesenc xmm0, xmm1
      {"bmi2", {0xc4, 0xe2, 0xfb, 0xf6, 0xc1}},    // mulx rax, rax, rcx
      {"bmi1", {0xc4, 0xe2, 0xf8, 0xf2, 0xc1}},    // andn rax, rax, rcx
      {"movbe", {0x0f, 0x38, 0xf0, 0x07}},         // movbe eax, [rdi]
      {"popcnt", {0xf3, 0x0f, 0xb8, 0xc1}},        // popcnt eax, ecx
      {"sse4.2", {0xf2, 0x0f, 0x38, 0xf1, 0xc1}},  // crc32 eax, ecx
      {"adx", {0x66, 0x0f, 0x38, 0xf6, 0xc1}},     // adcx eax, ecx
      {"rdrand", {0x0f, 0xc7, 0xf0}},              // rdrand eax
      {"cx16", {0x48, 0x0f, 0xc7, 0x0f}},          // cmpxchg16b [rdi]
      {"rdtscp", {0x0f, 0x01, 0xf9}},
      {"smap", {0x0f, 0x01, 0xcb}},                  // stac
      {"fsgsbase", {0xf3, 0x48, 0x0f, 0xae, 0xc0}},  // rdfsbase rax
      {"xsave", {0x0f, 0xae, 0x27}},                 // xsave [rdi]
      {"cmov", {0x0f, 0x44, 0xc1}},                  // cmovz eax, ecx
      {"syscall", {0x0f, 0x05}},
  };
  return all;
}

// The vector that ends the code, or -1 when it went through to HLT.
int run(TestMachine& m, std::vector<u8> code) {
  code.push_back(0xf4);
  m.load(0, code);
  x86::State s = flat_state(m.code());
  s.cr4 |= x86::kCr4Fsgsbase | x86::kCr4Smap;
  s.gpr[x86::Rdi] = m.data();
  m.cpu().set(s);
  std::string log;
  set_code_log_sink([&](std::string_view text) { log += text; });
  set_code_log(1u << static_cast<unsigned>(LogItem::Int));
  const Exit exit = m.cpu().run();
  set_code_log(0);
  set_code_log_sink({});
  if (exit == Exit::Halted) return -1;
  const size_t at = log.find("v=");
  return at == log.npos ? -2 : static_cast<int>(std::stoul(log.substr(at + 2, 2), nullptr, 16));
}

TEST(Features, WhatIsNotOfferedIsUndefined) {
  unsigned tried = 0;
  for (const unsigned limit : {64u, 0u}) {
    TestMachine all({.code_size = 4 << 20, .block_limit = limit});
    for (const Gated& g : gated()) {
      // Also without the feature here: then both are #UD.
      const int with = run(all, g.code);
      std::vector<CpuidEntry> less =
          x86::apply_model(format("max,-{}", g.feature), offered_cpuid()).value().leaves;
      TestMachine poor({.code_size = 4 << 20, .block_limit = limit}, less);
      EXPECT_EQ(run(poor, g.code), int{x86::kUd}) << g.feature;
      if (with == -1) tried++;
    }
  }
  EXPECT_GE(tried, 20u);  // so many of them run when they are offered
}

// F3 0F BD without ABM is BSR, as CPUs without LZCNT take it.
TEST(Features, SomePrefixesAreIgnoredInstead) {
  std::vector<CpuidEntry> less = x86::apply_model("max,-abm", offered_cpuid()).value().leaves;
  TestMachine poor({.code_size = 4 << 20}, less);
  const std::vector<u8> lzcnt{0xb9, 0, 1, 0, 0, 0xf3, 0x0f, 0xbd, 0xc1};  // mov ecx,100h; lzcnt
  EXPECT_EQ(run(poor, lzcnt), -1);
  x86::State s;
  poor.cpu().get(s);
  EXPECT_EQ(s.gpr[x86::Rax], 8u);
}

// CR4.OSXMMEXCPT says whether SIMD exceptions are #XM or #UD.
TEST(Features, SimdExceptionsNeedTheirControlBit) {
  for (const bool known : {true, false}) {
    TestMachine m({.code_size = 4 << 20});
    const std::vector<u8> code{0x0f, 0x5e, 0xc1, 0xf4};  // divps xmm0, xmm1: 0/0
    m.load(0, code);
    x86::State s = flat_state(m.code());
    s.mxcsr = 0;
    if (!known) s.cr4 &= ~u64{x86::kCr4Osxmmexcpt};
    m.cpu().set(s);
    std::string log;
    set_code_log_sink([&](std::string_view text) { log += text; });
    set_code_log(1u << static_cast<unsigned>(LogItem::Int));
    EXPECT_EQ(m.cpu().run(), Exit::Reset);
    set_code_log(0);
    set_code_log_sink({});
    EXPECT_NE(log.find(known ? "v=13" : "v=06"), log.npos) << log;
  }
}

}  // namespace
}  // namespace menura::engine
