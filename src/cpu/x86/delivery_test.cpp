#include "cpu/x86/delivery.h"

#include <gtest/gtest.h>

#include "cpu/x86/test_system.h"

namespace menura::x86 {
namespace {

using Words = std::vector<u64>;
using T = TestSystem;

constexpr u8 kPresentInterrupt = 0x8e, kPresentTrap = 0x8f, kUserInterrupt = 0xee;
constexpr u8 kTaskGateAccess = 0x85;

// SDM vol. 3 figure 6-4: the frames of protected mode.
TEST(Delivery, SameLevelFrameWithAndWithoutErrorCode) {
  T t = T::protected32(0);
  t.s.rflags |= kIf | kTf | kNt;
  t.define_gate(kGp, gate(T::kCode0, 0x1234'5678, kPresentInterrupt));
  ASSERT_EQ(deliver_fault(t.s, t.bus, general_protection(0x18)), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x1234'5678u);
  EXPECT_EQ(t.s.gpr[Rsp], T::kOuterStack - 16);
  EXPECT_EQ(t.stack(4, 4), (Words{0x18, 0x4000, T::kCode0, 2 | kIf | kTf | kNt | kRf}));
  EXPECT_EQ(t.s.rflags & (kIf | kTf | kNt | kRf | kVm), 0u);

  t = T::protected32(0);
  t.s.rflags |= kIf;
  t.define_gate(0x30, gate(T::kCode0, 0x5000, kPresentTrap));
  ASSERT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Done);
  EXPECT_EQ(t.stack(3, 4), (Words{0x4000, T::kCode0, 2 | kIf}));
  EXPECT_TRUE(t.s.rflags & kIf);  // a trap gate
}

TEST(Delivery, InnerLevelSwitchesStacks) {
  T t = T::protected32(3);
  t.define_gate(kPfault, gate(T::kCode0, 0x5000, kPresentInterrupt));
  ASSERT_EQ(deliver_fault(t.s, t.bus, page_fault(0xdead'b000, 6)), Delivery::Done);
  EXPECT_EQ(t.s.gpr[Rsp], T::kStack0 - 24);
  EXPECT_EQ(t.stack(6, 4),
            (Words{6, 0x4000, T::kCode3 | 3, 2 | kRf, T::kOuterStack, T::kData3 | 3}));
  EXPECT_EQ(t.s.cpl(), 0);
  EXPECT_EQ(t.s.seg[Cs].selector, T::kCode0);
  EXPECT_EQ(t.s.seg[Ss].selector, T::kData0);
  EXPECT_EQ(t.s.cr2, 0xdead'b000u);
}

TEST(Delivery, SixteenBitGatePushesWords) {
  T t = T::protected32(3);
  t.s.gpr[Rsp] = 0x1'9000;
  t.define_gate(0x30, gate(T::kCode0, 0xffff'5000, 0x86));
  ASSERT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x5000u);
  EXPECT_EQ(t.stack(5, 2), (Words{0x4000, T::kCode3 | 3, 2, 0x9000, T::kData3 | 3}));
}

TEST(Delivery, ConformingHandlerKeepsTheLevel) {
  T t = T::protected32(3);
  t.define(T::kFree, descriptor(0, 0xf'ffff, 0xc09f));
  t.define_gate(0x30, gate(T::kFree, 0x5000, kPresentInterrupt));
  ASSERT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Done);
  EXPECT_EQ(t.s.seg[Cs].selector, T::kFree | 3);
  EXPECT_EQ(t.s.gpr[Rsp], T::kOuterStack - 12);
}

// SDM vol. 3 figure 6-5 / §21.2.2: out of virtual-8086 mode.
TEST(Delivery, Virtual8086Frame) {
  T t = T::v86(3);
  t.define_gate(0x30, gate(T::kCode0, 0x5000, kPresentInterrupt));
  ASSERT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Done);
  EXPECT_EQ(t.stack(9, 4),
            (Words{0x10, 0x401, 2 | kVm | kIopl, 0x100, 0x402, 0x400, 0x403, 0x404, 0x405}));
  for (SegReg r : {Es, Ds, Fs, Gs}) {
    EXPECT_TRUE(t.s.seg[r].unusable);
    EXPECT_EQ(t.s.seg[r].selector, 0);
  }
  EXPECT_FALSE(v86_mode(t.s));
  EXPECT_EQ(t.s.cpl(), 0);
}

TEST(Delivery, RealMode) {
  T t = T::real();
  t.s.rflags |= kIf | kTf;
  t.bus.put(0x21 * 4, 4, 0x1234'5678);
  ASSERT_TRUE(deliver_software(t.s, t.bus, 0x21, 0x12).ok());
  EXPECT_EQ(t.s.seg[Cs].selector, 0x1234);
  EXPECT_EQ(t.s.seg[Cs].base, 0x12340u);
  EXPECT_EQ(t.s.rip, 0x5678u);
  EXPECT_EQ(t.s.gpr[Rsp], 0xfau);
  EXPECT_EQ(t.stack(3, 2), (Words{0x12, 0x400, 2 | kIf | kTf}));
  EXPECT_EQ(t.s.rflags & (kIf | kTf), 0u);
}

TEST(Delivery, RealModeTableTooShortEndsInShutdown) {
  T t = T::real();
  t.s.idtr.limit = 4 * kDfault - 1;  // not even the double fault fits
  EXPECT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Shutdown);
}

// SDM vol. 3 figure 6-8: 64-bit mode pushes SS:RSP always, and aligns to 16 bytes.
TEST(Delivery, LongModeFrames) {
  T t = T::long64(0);
  t.s.gpr[Rsp] = T::kOuterStack - 3;
  t.define_gate64(kGp, gate(T::kCode64, 0x8765'4321, kPresentInterrupt), 0xffff'8000);
  ASSERT_EQ(deliver_fault(t.s, t.bus, general_protection()), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0xffff'8000'8765'4321u);
  EXPECT_EQ(t.s.gpr[Rsp], T::kOuterStack - 16 - 48);
  EXPECT_EQ(t.stack(6, 8), (Words{0, 0x4000, T::kCode64, 2 | kRf, T::kOuterStack - 3, T::kData0}));
  EXPECT_EQ(t.s.seg[Ss].selector, T::kData0);

  t = T::long64(3);
  t.define_gate64(0x30, gate(T::kCode64, 0x5000, kPresentInterrupt));
  ASSERT_EQ(deliver_external(t.s, t.bus, 0x30), Delivery::Done);
  EXPECT_EQ(t.s.gpr[Rsp], T::kStack0 - 40);
  EXPECT_EQ(t.stack(5, 8), (Words{0x4000, T::kCode64User | 3, 2, T::kOuterStack, T::kData3 | 3}));
  EXPECT_TRUE(t.s.seg[Ss].unusable);
  EXPECT_EQ(t.s.seg[Ss].selector, 0);
  EXPECT_EQ(t.s.cpl(), 0);
}

TEST(Delivery, InterruptStackTable) {
  T t = T::long64(0);
  t.bus.put(T::kTss + 0x24 + 8 * 2, 8, 0xc008);  // IST3
  t.define_gate64(kNmi, gate(T::kCode64, 0x5000, kPresentInterrupt, 3));
  ASSERT_EQ(deliver_nmi(t.s, t.bus), Delivery::Done);
  EXPECT_EQ(t.s.gpr[Rsp], 0xc000u - 40);
  EXPECT_TRUE(t.s.nmi_blocked);
  EXPECT_EQ(t.s.seg[Ss].selector, T::kData0);  // the level did not change
}

struct GateCase {
  const char* what;
  u64 low;
  Fault wanted;
};

// SDM vol. 2, INT n: each check with its error code, for INT 30h (EXT is 0) from CPL 3.
TEST(Delivery, SoftwareInterruptChecks) {
  constexpr u32 kCode = 0x30 * 8 + 2;
  const GateCase cases[] = {
      {"gate DPL", gate(T::kCode0, 0, kPresentInterrupt), general_protection(kCode)},
      {"not present", gate(T::kCode0, 0, 0x6e), not_present(kCode)},
      {"call gate", gate(T::kCode0, 0, 0xec), general_protection(kCode)},
      {"data segment", descriptor(0, 0xffff, 0xf3), general_protection(kCode)},
      {"null selector", gate(3, 0, kUserInterrupt), general_protection()},
      {"beyond the GDT", gate(0x1000, 0, kUserInterrupt), general_protection(0x1000)},
      {"not code", gate(T::kData0, 0, kUserInterrupt), general_protection(T::kData0)},
      {"absent code", gate(T::kFree, 0, kUserInterrupt), not_present(T::kFree)},
      {"beyond the code", gate(T::kFree + 8, 0x1'0000, kUserInterrupt), general_protection()},
  };
  for (const GateCase& c : cases) {
    T t = T::protected32(3);
    t.define(T::kFree, descriptor(0, 0xf'ffff, 0xc01b));
    t.define(T::kFree + 8, descriptor(0, 0xffff, 0x409b));
    t.define_gate(0x30, c.low);
    const State before = t.s;
    OrFault<void> done = deliver_software(t.s, t.bus, 0x30, 0x4002);
    ASSERT_FALSE(done.ok()) << c.what;
    EXPECT_EQ(done.error(), c.wanted) << c.what;
    EXPECT_EQ(t.s, before) << c.what;
  }
}

TEST(Delivery, IdtLimit) {
  T t = T::protected32(0);
  t.s.idtr.limit = 0x30 * 8 + 6;
  t.define_gate(0x30, gate(T::kCode0, 0, kPresentInterrupt));
  EXPECT_EQ(deliver_software(t.s, t.bus, 0x30, 0).error(), general_protection(0x182));
}

// #TS and #SS of the inner stack, with their selectors.
TEST(Delivery, InnerStackChecks) {
  const auto deliver = [](auto change) {
    T t = T::protected32(3);
    t.define_gate(0x30, gate(T::kCode0, 0x5000, kUserInterrupt));
    change(t);
    OrFault<void> done = deliver_software(t.s, t.bus, 0x30, 0x4002);
    return done ? Fault{} : done.error();
  };
  EXPECT_EQ(deliver([](T& t) { t.s.tr.limit = 8; }), invalid_tss(T::kTr));
  EXPECT_EQ(deliver([](T& t) { t.bus.put(T::kTss + 8, 4, 0); }), invalid_tss(0));
  EXPECT_EQ(deliver([](T& t) { t.bus.put(T::kTss + 8, 4, T::kData3 | 3); }),
            invalid_tss(T::kData3));
  EXPECT_EQ(deliver([](T& t) { t.bus.put(T::kTss + 8, 4, T::kCode0); }), invalid_tss(T::kCode0));
  EXPECT_EQ(deliver([](T& t) { t.define(T::kData0, descriptor(0, 0xf'ffff, 0xc013)); }),
            stack_fault(T::kData0));
  EXPECT_EQ(deliver([](T& t) { t.define(T::kData0, descriptor(0, 7, 0xc097)); }),  // expand-down
            stack_fault(T::kData0) /* below 8000h is not inside */)
      << "limit 7fffh, the frame lies below";
  EXPECT_EQ(deliver([](T& t) { t.bus.fault_at(0x7000, 0x1000); }).vector, kPfault);
}

TEST(Delivery, DoubleAndTripleFaults) {
  T t = T::protected32(0);  // an empty IDT: #GP, then #DF cannot be delivered either
  EXPECT_EQ(deliver_fault(t.s, t.bus, general_protection()), Delivery::Shutdown);

  t = T::protected32(0);
  t.define_gate(kDfault, gate(T::kCode0, 0x6000, kPresentInterrupt));
  ASSERT_EQ(deliver_fault(t.s, t.bus, general_protection(0x10)), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x6000u);
  EXPECT_EQ(t.stack(4, 4), (Words{0, 0x4000, T::kCode0, 2}));

  // #UD is benign: its failed delivery is reported as what it is, with EXT.
  t = T::protected32(0);
  t.define_gate(kNp, gate(T::kCode0, 0x6000, kPresentInterrupt));
  t.define_gate(kUd, gate(T::kCode0, 0x5000, 0x0e));
  ASSERT_EQ(deliver_fault(t.s, t.bus, undefined_opcode()), Delivery::Done);
  EXPECT_EQ(t.stack(1, 4), (Words{kUd * 8 + 3}));

  // A page fault after a contributory fault is served as one, and CR2 is its address.
  t = T::protected32(3);
  t.define(0x68, descriptor(0x7'0000, 0xf'ffff, 0xc09b));
  t.define_gate(kPfault, gate(T::kCode0, 0x7000, kPresentInterrupt));
  t.define_gate(kGp, gate(T::kCode0, 0x5000, kPresentInterrupt));
  t.bus.fault_at(T::kIdt + kGp * 8, 8);
  ASSERT_EQ(deliver_fault(t.s, t.bus, general_protection()), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x7000u);
  EXPECT_EQ(t.s.cr2, T::kIdt + kGp * 8);

  // Two page faults make a double fault.
  t = T::protected32(3);
  t.define_gate(kDfault, gate(T::kCode0, 0x6000, kPresentInterrupt));
  t.bus.fault_at(T::kIdt + kPfault * 8, 8);
  ASSERT_EQ(deliver_fault(t.s, t.bus, page_fault(0x1234, 4)), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x6000u);
  EXPECT_EQ(t.s.cr2, T::kIdt + kPfault * 8);
}

TEST(Delivery, DebugExceptionsSetDr6AndClearGd) {
  T t = T::protected32(0);
  t.s.dr7 |= 1u << 13;
  t.s.dr6 |= 0xf;
  t.define_gate(kDb, gate(T::kCode0, 0x5000, kPresentInterrupt));
  ASSERT_EQ(deliver_fault(t.s, t.bus, {kDb}, 1u << 14), Delivery::Done);
  EXPECT_EQ(t.s.dr6, 0xffff'4ff0u);
  EXPECT_EQ(t.s.dr7, 0x400u);
  EXPECT_EQ(t.stack(3, 4)[2], 2u);  // no RF
}

TEST(Delivery, Virtual8086SoftwareInterruptsNeedIopl3) {
  T t = T::v86(0);
  t.define_gate(0x21, gate(T::kCode0, 0x5000, kUserInterrupt));
  t.define_gate(kBp, gate(T::kCode0, 0x6000, kUserInterrupt));
  EXPECT_EQ(deliver_software(t.s, t.bus, 0x21, 0x12).error(), general_protection());
  ASSERT_TRUE(deliver_software(t.s, t.bus, kBp, 0x11, SoftwareInterrupt::Int3).ok());
  EXPECT_EQ(t.s.rip, 0x6000u);
}

// SDM vol. 3 §21.3: with VME and a clear bit of the redirection map, through the task's own table.
TEST(Delivery, VmeRedirectsInterrupts) {
  T t = T::v86(0);
  t.s.cr4 |= kCr4Vme;
  t.s.tr.limit = 0x200;
  t.s.rflags |= kVif | kIf;
  t.bus.put(T::kTss + 0x66, 2, 0x100);  // redirection map from e0h on: all clear
  t.bus.put(0x21 * 4, 4, 0x0500'0040);
  ASSERT_TRUE(deliver_software(t.s, t.bus, 0x21, 0x12).ok());
  EXPECT_TRUE(v86_mode(t.s));
  EXPECT_EQ(t.s.rip, 0x40u);
  EXPECT_EQ(t.s.seg[Cs].selector, 0x500);
  EXPECT_EQ(t.stack(3, 2), (Words{0x12, 0x401, 2 | kIf | kIopl}));
  EXPECT_FALSE(t.s.rflags & kVif);
  EXPECT_TRUE(t.s.rflags & kIf);
  t = T::v86(0);
  t.s.cr4 |= kCr4Vme;
  t.s.tr.limit = 0x200;
  t.bus.put(T::kTss + 0x66, 2, 0x100);
  t.bus.put(T::kTss + 0xe0 + 0x21 / 8, 1, 1u << (0x21 % 8));
  EXPECT_EQ(deliver_software(t.s, t.bus, 0x21, 0x12).error(), general_protection());
}

TEST(Delivery, TaskGateSavesTheOldTaskAndPushesTheErrorCode) {
  T t = T::protected32(3);
  constexpr u64 kNewTss = 0x6000;
  t.define(T::kFree, descriptor(kNewTss, 0x67, 0x89));
  t.define_gate(kDfault, gate(T::kFree, 0, kTaskGateAccess));
  t.bus.put(kNewTss + 0x20, 4, 0x7777);
  t.bus.put(kNewTss + 0x24, 4, 2);
  t.bus.put(kNewTss + 0x38, 4, 0xb000);
  t.bus.put(kNewTss + 0x4c, 4, T::kCode0);
  t.bus.put(kNewTss + 0x50, 4, T::kData0);
  ASSERT_EQ(deliver_fault(t.s, t.bus, {kDfault, true, 0}), Delivery::Done);
  EXPECT_EQ(t.s.rip, 0x7777u);
  EXPECT_EQ(t.s.gpr[Rsp], 0xaffcu);
  EXPECT_EQ(t.s.tr.selector, T::kFree);
  EXPECT_TRUE(t.s.rflags & kNt);
  EXPECT_TRUE(t.s.cr0 & kCr0Ts);
  EXPECT_EQ(t.bus.get(kNewTss, 2), T::kTr);
  EXPECT_EQ(t.bus.get(T::kTss + 0x20, 4), 0x4000u);
  EXPECT_EQ(t.bus.get(T::kTss + 0x4c, 2), T::kCode3 | 3u);
}

}  // namespace
}  // namespace menura::x86
