// What guards every access of a guest and must hold in translated code as in steps: segment limits
// and types (Intel SDM vol. 3 §5.3-5.5), alignment checks (§6.15, #AC) and debug registers (§18.2).
//
// Real mode and 32-bit protected mode over low memory; whatever vector is delivered ends in a HLT of
// its own.
#include <gtest/gtest.h>

#include "accel/jit/test_machine.h"

namespace menura::engine {
namespace {

constexpr u64 kLow = 1 << 20;  // bytes of RAM at 0
constexpr u32 kHandlers = 0x600, kCode = 0x8000, kGdt = 0x2000, kIdt = 0x3000, kTss = 0x4000;
constexpr u32 kInner = 0x7000;  // the stack of handlers for CPL 3

struct Ended {
  int vector;  // -1: the program's own HLT
  u64 rip;     // of its frame
  u64 error;
  x86::State state;
};

class Exact : public testing::TestWithParam<unsigned> {
 protected:
  Exact()
      : m_({.code_size = 4 << 20, .block_limit = GetParam()}, TestMachine::Shape{.data = kLow}) {
    m_.map_data_at(0);
    for (u32 v = 0; v < 32; v++) {
      put(kHandlers + 4 * v, 0xf4f4'f4f4, 4);
      put(4 * v, kHandlers + 4 * v, 4);  // IVT: segment 0
      const u64 gate = (kHandlers + 4 * v) | u64{8} << 16 | u64{0x8e00} << 32;
      put(kIdt + 8 * v, gate, 8);
    }
    put(kGdt + 8, 0x00cf'9b00'0000'ffff, 8);   // 08: flat code
    put(kGdt + 16, 0x00cf'9300'0000'ffff, 8);  // 10: flat data
    put(kTss + 4, kInner, 4);
    put(kTss + 8, 0x10, 4);
  }
  void put(u64 at, u64 value, size_t size) { std::memcpy(m_.data_bytes() + at, &value, size); }
  u64 get(u64 at, size_t size) {
    u64 value = 0;
    std::memcpy(&value, m_.data_bytes() + at, size);
    return value;
  }

  static x86::State real_state() {
    x86::State s;
    s.reset(x86::State::ResetCause::PowerOn, 0x600, true);
    for (x86::Segment& seg : s.seg) seg = {.attributes = 0x93, .limit = 0xffff};
    s.gpr[x86::Rsp] = 0x7000;
    s.rip = kCode;
    return s;
  }
  static x86::State protected_state(unsigned cpl = 0) {
    x86::State s = real_state();
    s.cr0 = x86::kCr0Pe | x86::kCr0Am;
    const u16 dpl = static_cast<u16>(cpl << 5);
    for (x86::Segment& seg : s.seg)
      seg = {.selector = static_cast<u16>(0x10 | cpl),
             .attributes = static_cast<u16>(0xc093 | dpl),
             .limit = 0xffff'ffff};
    s.seg[x86::Cs].selector = static_cast<u16>(8 | cpl);
    s.seg[x86::Cs].attributes = static_cast<u16>(0xc09b | dpl);
    s.gdtr = {.base = kGdt, .limit = 0x17};
    s.idtr = {.base = kIdt, .limit = 0xff};
    s.tr = {.selector = 0x18, .attributes = 0x8b, .limit = 0x67, .base = kTss};
    return s;
  }
  // Runs the bytes, then HLT.
  Ended run(x86::State s, std::vector<u8> code) {
    code.push_back(0xf4);
    const u64 at = s.rip + s.seg[x86::Cs].base;
    std::memcpy(m_.data_bytes() + at, code.data(), code.size());
    m_.forget(at, code.size());
    m_.cpu().set(s);
    EXPECT_EQ(m_.cpu().run(), Exit::Halted);
    Ended e{.vector = -1};
    m_.cpu().get(e.state);
    const u64 rip = e.state.rip;
    if (rip < kHandlers || rip >= kHandlers + 4 * 32) return e;
    e.vector = static_cast<int>((rip - kHandlers) / 4);
    u64 frame = e.state.gpr[x86::Rsp] & 0xffff;
    if (!(e.state.cr0 & x86::kCr0Pe)) {
      e.rip = get(frame, 2);
      return e;
    }
    const bool coded = e.vector == x86::kGp || e.vector == x86::kSsFault ||
                       e.vector == x86::kAcFault || e.vector == x86::kPfault;
    if (coded) {
      e.error = get(frame, 4);
      frame += 4;
    }
    e.rip = get(frame, 4);
    return e;
  }

  TestMachine m_;
};

TEST_P(Exact, RealModeEndsAt64K) {
  EXPECT_EQ(run(real_state(), {0xa1, 0xfe, 0xff}).vector, -1);        // mov ax, [FFFE]
  EXPECT_EQ(run(real_state(), {0xa1, 0xff, 0xff}).vector, x86::kGp);  // mov ax, [FFFF]
  EXPECT_EQ(run(real_state(), {0xa0, 0xff, 0xff}).vector, -1);        // mov al, [FFFF]
  x86::State s = real_state();
  s.gpr[x86::Rbp] = 0xffff;
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x00}).vector, x86::kSsFault);  // mov ax, [bp]
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x01}).vector, -1);             // wraps to 0
  s.gpr[x86::Rbx] = 0x1'0000;
  const Ended e = run(s, {0x90, 0x67, 0x8a, 0x03});  // mov al, [ebx]
  EXPECT_EQ(e.vector, x86::kGp);
  EXPECT_EQ(e.rip, kCode + 1);
}

TEST_P(Exact, TheStackHasAnEnd) {
  x86::State s = real_state();
  s.gpr[x86::Rsp] = 1;
  // push ax: its own fault cannot be delivered on that stack either: a shutdown.
  std::memcpy(m_.data_bytes() + kCode, "\x50\xf4", 2);
  m_.forget(kCode, 2);
  m_.cpu().set(s);
  EXPECT_EQ(m_.cpu().run(), Exit::Reset);
  s = protected_state();
  s.seg[x86::Ss].limit = 0x6fff;
  s.seg[x86::Ss].attributes = 0x4093;
  s.gpr[x86::Rsp] = 0x6000;
  s.gpr[x86::Rbp] = 0x6ffe;
  EXPECT_EQ(run(s, {0x8b, 0x45, 0x00}).vector, x86::kSsFault);  // mov eax, [ebp]
  EXPECT_EQ(run(s, {0x8a, 0x45, 0x01}).vector, -1);             // mov al, [ebp + 1]
}

TEST_P(Exact, ProtectedModeLimitsAndTypes) {
  x86::State s = protected_state();
  s.gpr[x86::Rsi] = 0x0ffc;
  s.seg[x86::Ds].limit = 0xfff;
  EXPECT_EQ(run(s, {0x8b, 0x06}).vector, -1);              // mov eax, [esi]
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x01}).vector, x86::kGp);  // [esi + 1]
  EXPECT_EQ(run(s, {0x89, 0x46, 0x01}).vector, x86::kGp);  // a store
  EXPECT_EQ(run(s, {0xff, 0x46, 0x01}).vector, x86::kGp);  // inc
  EXPECT_EQ(run(s, {0x8a, 0x46, 0x03}).vector, -1);        // its last byte
  s.seg[x86::Ds].base = 0x8000;
  put(0x8ffc, 0x1234'5678, 4);
  EXPECT_EQ(run(s, {0x8b, 0x06}).state.gpr[x86::Rax], 0x1234'5678u);
  s.seg[x86::Ds].attributes = 0xc097;  // expand-down: valid above the limit
  EXPECT_EQ(run(s, {0x8b, 0x06}).vector, x86::kGp);
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x04}).vector, -1);
  s = protected_state();
  s.gpr[x86::Rsi] = 0x5000;
  s.seg[x86::Ds].attributes = 0xc091;  // read-only
  EXPECT_EQ(run(s, {0x8b, 0x06}).vector, -1);
  EXPECT_EQ(run(s, {0x89, 0x06}).vector, x86::kGp);
  EXPECT_EQ(run(s, {0xf0, 0xff, 0x06}).vector, x86::kGp);  // lock inc
  EXPECT_EQ(run(s, {0x2e, 0x8b, 0x06}).vector, -1);        // through CS
  EXPECT_EQ(run(s, {0x2e, 0x89, 0x06}).vector, x86::kGp);
  s.seg[x86::Ds].unusable = true;
  EXPECT_EQ(run(s, {0x8b, 0x06}).vector, x86::kGp);
  s.seg[x86::Cs].attributes = 0xc099;  // execute-only
  EXPECT_EQ(run(s, {0x2e, 0x8b, 0x06}).vector, x86::kGp);
}

TEST_P(Exact, CodeEndsAtItsLimit) {
  x86::State s = protected_state();
  s.seg[x86::Cs].limit = kCode + 2;
  EXPECT_EQ(run(s, {0x90, 0x90}).vector, -1);
  const Ended e = run(s, {0x90, 0x90, 0x90});
  EXPECT_EQ(e.vector, x86::kGp);
  EXPECT_EQ(e.rip, kCode + 3);
  s = real_state();
  s.rip = 0xfffe;
  EXPECT_EQ(run(s, {0x90, 0x90}).vector, x86::kGp);
}

TEST_P(Exact, AlignmentIsCheckedAtCpl3) {
  x86::State s = protected_state(3);
  s.rflags |= x86::kAc;
  s.gpr[x86::Rsi] = 0x5002;
  s.rflags |= x86::kIopl;  // HLT needs CPL 0: see below
  const Ended e = run(s, {0x8b, 0x06});
  EXPECT_EQ(e.vector, x86::kAcFault);
  EXPECT_EQ(e.error, 0u);
  EXPECT_EQ(e.rip, kCode);
  EXPECT_EQ(run(s, {0x66, 0x8b, 0x06}).rip, kCode + 3);  // aligned: on to HLT, which is #GP
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x02}).vector, x86::kGp);
  s.rflags &= ~u64{x86::kAc};
  EXPECT_EQ(run(s, {0x8b, 0x06}).rip, kCode + 2);
}

TEST_P(Exact, DataBreakpoints) {
  x86::State s = protected_state();
  s.dr[1] = 0x5004;
  s.dr7 = 0x400 | 2 << 2 | 0xdu << 20;  // G1: writes of 4 bytes
  s.gpr[x86::Rsi] = 0x5000;
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x04}).vector, -1);
  EXPECT_EQ(run(s, {0x89, 0x06}).vector, -1);
  Ended e = run(s, {0x90, 0x89, 0x46, 0x01, 0x90});
  EXPECT_EQ(e.vector, x86::kDb);
  EXPECT_EQ(e.rip, kCode + 4);  // behind it
  EXPECT_EQ(e.state.dr6 & 0xf, 2u);
  s.dr7 |= 0x2u << 20;  // reads as well
  EXPECT_EQ(run(s, {0x8b, 0x46, 0x04}).vector, x86::kDb);
  // In a loop that has run before: mov [esi], ecx; inc/dec; jnz
  s.gpr[x86::Rcx] = 8;
  e = run(s, {0x89, 0x0e, 0x83, 0xc6, 0x01, 0x49, 0x75, 0xf8});
  EXPECT_EQ(e.vector, x86::kDb);
  EXPECT_EQ(e.state.gpr[x86::Rsi], 0x5001u);
}

TEST_P(Exact, InstructionBreakpoints) {
  x86::State s = protected_state();
  s.dr[2] = kCode + 1;
  s.dr7 = 0x400 | 2 << 4;
  const Ended e = run(s, {0x40, 0x40, 0x40});
  EXPECT_EQ(e.vector, x86::kDb);
  EXPECT_EQ(e.rip, kCode + 1);  // before it
  EXPECT_EQ(e.state.gpr[x86::Rax], 1u);
  EXPECT_EQ(e.state.dr6 & 0xf, 4u);
  EXPECT_TRUE(get((e.state.gpr[x86::Rsp] & 0xffff) + 8, 4) & x86::kRf);
  s.rflags |= x86::kRf;  // for one instruction only
  s.rip = kCode + 1;
  EXPECT_EQ(run(s, {0x40, 0x40}).state.gpr[x86::Rax], 2u);
  s.dr[2] = kCode + 2;
  EXPECT_EQ(run(s, {0x40, 0x40}).vector, x86::kDb);
}

TEST_P(Exact, PortBreakpointsNeedTheirControlBit) {
  x86::State s = protected_state();
  s.dr[0] = 0x80;
  s.dr7 = 0x400 | 2 | 2u << 16;
  EXPECT_EQ(run(s, {0xe6, 0x80}).vector, -1);
  s.cr4 |= x86::kCr4De;
  EXPECT_EQ(run(s, {0xe6, 0x80}).vector, x86::kDb);
  EXPECT_EQ(run(s, {0xe6, 0x81}).vector, -1);
}

INSTANTIATE_TEST_SUITE_P(BlockSizes, Exact, testing::Values(64u, 0u));

}  // namespace
}  // namespace menura::engine
