#include "cpu/x86/far_transfer.h"

#include <gtest/gtest.h>

#include "cpu/x86/task.h"
#include "cpu/x86/test_system.h"

namespace menura::x86 {
namespace {

using Words = std::vector<u64>;
using T = TestSystem;
using Move = OrFault<void> (*)(State&, CpuBus&, FarPointer, unsigned, u64);

constexpr u64 kNext = 0x4007, kNewTss = 0x6000;

// The fault of a transfer, which must not change the state.
Fault fault_of(T& t, Move move, FarPointer to, unsigned size = 4) {
  const State before = t.s;
  OrFault<void> done = move(t.s, t.bus, to, size, kNext);
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(t.s, before);
  return done ? Fault{} : done.error();
}

TEST(FarTransfer, RealModeJumpAndCall) {
  T t = T::real();
  ASSERT_TRUE(far_call(t.s, t.bus, {0x1234, 0x20}, 2, 0x15).ok());
  EXPECT_EQ(t.s.seg[Cs].base, 0x12340u);
  EXPECT_EQ(t.stack(2, 2), (Words{0x15, 0x400}));
  ASSERT_TRUE(far_return(t.s, t.bus, 2, 4).ok());
  EXPECT_EQ(t.s.seg[Cs].selector, 0x400);
  EXPECT_EQ(t.s.rip, 0x15u);
  EXPECT_EQ(t.s.gpr[Rsp], 0x104u);
  EXPECT_EQ(fault_of(t, far_jump, {0, 0x1'0000}), general_protection());
}

struct Case {
  const char* what;
  u64 target;
  u16 selector;
  Fault wanted;
};

// SDM vol. 2, JMP: from CPL 0 unless the selector's RPL says 3.
TEST(FarTransfer, DirectChecks) {
  const Case cases[] = {
      {"null", 0, 2, general_protection()},
      {"beyond", 0, 0x100, general_protection(0x100)},
      {"data", descriptor(0, 0xffff, 0x93), T::kFree, general_protection(T::kFree)},
      {"other level", descriptor(0, 0xffff, 0xfb), T::kFree, general_protection(T::kFree)},
      {"RPL", descriptor(0, 0xffff, 0x9b), T::kFree | 1, general_protection(T::kFree)},
      {"absent", descriptor(0, 0xffff, 0x1b), T::kFree, not_present(T::kFree)},
      {"limit", descriptor(0, 0xfff, 0x9b), T::kFree, general_protection()},
      {"LDT descriptor", descriptor(0, 0xfff, 0x82), T::kFree, general_protection(T::kFree)},
      {"busy TSS", descriptor(0, 0xfff, 0x8b), T::kFree, general_protection(T::kFree)},
      {"absent TSS", descriptor(0, 0xfff, 0x09), T::kFree, not_present(T::kFree)},
      {"absent gate", gate(T::kCode0, 0, 0x0c), T::kFree, not_present(T::kFree)},
      {"gate DPL", gate(T::kCode0, 0, 0x8c), T::kFree | 3, general_protection(T::kFree)},
      {"gate to null", gate(0, 0, 0x8c), T::kFree, general_protection()},
      {"gate to data", gate(T::kData0, 0, 0x8c), T::kFree, general_protection(T::kData0)},
      {"interrupt gate", gate(T::kCode0, 0, 0x8e), T::kFree, general_protection(T::kFree)},
      {"short TSS", descriptor(0, 0x66, 0x89), T::kFree, invalid_tss(T::kFree)},
  };
  for (const Case& c : cases)
    for (Move move : {far_jump, far_call}) {
      T t = T::protected32(0);
      t.define(T::kFree, c.target);
      EXPECT_EQ(fault_of(t, move, {c.selector, 0x1000}), c.wanted) << c.what;
    }
}

TEST(FarTransfer, ConformingTargetKeepsTheLevel) {
  T t = T::protected32(3);
  t.define(T::kFree, descriptor(0, 0xf'ffff, 0xc09e));
  ASSERT_TRUE(far_jump(t.s, t.bus, {T::kFree, 0x1000}, 4, kNext).ok());
  EXPECT_EQ(t.s.seg[Cs].selector, T::kFree | 3);
  EXPECT_EQ(t.s.seg[Cs].attributes & 1, 1);  // accessed
  EXPECT_EQ(t.s.cpl(), 3);
  t.define(T::kFree, descriptor(0, 0xf'ffff, 0xc0ff));  // conforming of level 3 from level 0
  t.set_level(0);
  EXPECT_EQ(fault_of(t, far_jump, {T::kFree, 0}), general_protection(T::kFree));
}

TEST(FarTransfer, CallPushesNothingWhenItFaults) {
  T t = T::protected32(0);
  t.s.gpr[Rsp] = 0x9004;
  t.bus.fault_at(0x8000, 0x1000);
  t.bus.fault_at(0x9000, 4);
  EXPECT_EQ(fault_of(t, far_call, {T::kCode0, 0x1000}).vector, kPfault);
}

// SDM vol. 3 figure 5-13: parameters are copied to the inner stack.
TEST(FarTransfer, CallGateSwitchesStackAndCopiesParameters) {
  T t = T::protected32(3);
  t.put_stack({0x11, 0x22, 0x33}, 4);
  t.define(T::kFree, gate(T::kCode0, 0x5678, 0xec, 3));
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree | 3, 0xffff'ffff}, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0x5678u);
  EXPECT_EQ(t.s.cpl(), 0);
  EXPECT_EQ(t.s.gpr[Rsp], T::kStack0 - 28);
  EXPECT_EQ(t.stack(7, 4),
            (Words{kNext, T::kCode3 | 3, 0x11, 0x22, 0x33, T::kOuterStack, T::kData3 | 3}));
  // And back: RET 12 drops the parameters from both stacks.
  t.s.seg[Ds] = t.s.seg[Ss];
  ASSERT_TRUE(far_return(t.s, t.bus, 4, 12).ok());
  EXPECT_EQ(t.s.rip, kNext);
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_EQ(t.s.seg[Cs].selector, T::kCode3 | 3);
  EXPECT_EQ(t.s.gpr[Rsp], T::kOuterStack + 12);
  EXPECT_TRUE(t.s.seg[Ds].unusable);
}

TEST(FarTransfer, SixteenBitCallGate) {
  T t = T::protected32(3);
  t.put_stack({0x1111, 0x2222}, 2);
  t.define(T::kFree, gate(T::kCode0, 0xffff'5678, 0xe4, 2));
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree | 3, 0}, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0x5678u);
  EXPECT_EQ(t.stack(6, 2),
            (Words{kNext, T::kCode3 | 3, 0x1111, 0x2222, T::kOuterStack, T::kData3 | 3}));
}

TEST(FarTransfer, GateOfTheSameLevelKeepsTheStackAndJumpNeedsIt) {
  T t = T::protected32(3);
  t.define(T::kFree, gate(T::kCode3, 0x5678, 0xec));
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree | 3, 0}, 4, kNext).ok());
  EXPECT_EQ(t.stack(2, 4), (Words{kNext, T::kCode3 | 3}));
  t.define(T::kFree, gate(T::kCode0, 0x5678, 0xec));
  EXPECT_EQ(fault_of(t, far_jump, {T::kFree | 3, 0}), general_protection(T::kCode0));
}

TEST(FarTransfer, LongModeCallGate) {
  T t = T::long64(3);
  t.define(T::kFree, gate(T::kCode64, 0x8765'4321, 0xec));
  t.bus.put(T::kGdt + T::kFree + 8, 8, 0xffff'8000);
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree | 3, 0}, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0xffff'8000'8765'4321u);
  EXPECT_EQ(t.s.gpr[Rsp], T::kStack0 - 32);
  EXPECT_EQ(t.stack(4, 8), (Words{kNext, T::kCode64User | 3, T::kOuterStack, T::kData3 | 3}));
  EXPECT_TRUE(t.s.seg[Ss].unusable);
  EXPECT_EQ(t.s.cpl(), 0);
  t = T::long64(0);
  t.define(T::kFree, gate(T::kCode0, 0, 0x8c));  // to a compatibility-mode segment
  EXPECT_EQ(fault_of(t, far_call, {T::kFree, 0}), general_protection(T::kCode0));
  t.define(T::kFree, gate(T::kCode64, 0, 0x84));  // no 16-bit gates
  EXPECT_EQ(fault_of(t, far_call, {T::kFree, 0}), general_protection(T::kFree));
  t.define(T::kFree, descriptor(0, 0x67, 0x89));  // no task switches
  EXPECT_EQ(fault_of(t, far_jump, {T::kFree, 0}), general_protection(T::kFree));
  t.define(T::kFree, descriptor(0, 0xf'ffff, 0xe09b));  // L and D
  EXPECT_EQ(fault_of(t, far_jump, {T::kFree, 0}), general_protection(T::kFree));
}

TEST(FarTransfer, BetweenCompatibilityAnd64BitMode) {
  T t = T::long64(0);
  ASSERT_TRUE(far_jump(t.s, t.bus, {T::kCode0, 0x1000}, 4, kNext).ok());
  EXPECT_FALSE(t.s.code64());
  EXPECT_TRUE(t.s.long_mode_active());
  ASSERT_TRUE(far_jump(t.s, t.bus, {T::kCode64, 0x2000}, 4, kNext).ok());
  EXPECT_TRUE(t.s.code64());
}

TEST(FarTransfer, ReturnChecks) {
  const auto fault = [](u16 cs, u64 target = 0, u16 ss = T::kData3 | 3) {
    T t = T::protected32(0);
    if (target) t.define(T::kFree, target);
    t.put_stack({0x1000, cs, 0x9000, ss}, 4);
    const State before = t.s;
    OrFault<void> done = far_return(t.s, t.bus, 4, 0);
    EXPECT_EQ(t.s == before, !done);
    return done ? Fault{} : done.error();
  };
  EXPECT_EQ(fault(0), general_protection());
  EXPECT_EQ(fault(T::kData0), general_protection(T::kData0));
  EXPECT_EQ(fault(T::kCode3), general_protection(T::kCode3));  // RPL 0, DPL 3
  EXPECT_EQ(fault(T::kFree, descriptor(0, 0xffff, 0x1b)), not_present(T::kFree));
  EXPECT_EQ(fault(T::kFree, descriptor(0, 0xfff, 0x9b)), general_protection());
  EXPECT_EQ(fault(T::kCode3 | 3, 0, 0), general_protection());
  EXPECT_EQ(fault(T::kCode3 | 3, 0, T::kData0), general_protection(T::kData0));
  EXPECT_EQ(fault(T::kCode3 | 3, descriptor(0, 0xffff, 0x73), T::kFree | 3), stack_fault(T::kFree));
  EXPECT_EQ(fault(T::kCode3 | 3), Fault{});
  T t = T::protected32(3);
  t.put_stack({0x1000, T::kCode0}, 4);
  EXPECT_EQ(far_return(t.s, t.bus, 4, 0).error(), general_protection(T::kCode0));
}

TEST(Iret, SameAndOuterLevel) {
  T t = T::protected32(0);
  t.s.nmi_blocked = true;
  t.put_stack({0x1000, T::kCode0, kIf | kIopl | kNt | kCf | 2}, 4);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0x1000u);
  EXPECT_EQ(t.s.gpr[Rsp], T::kOuterStack + 12);
  EXPECT_EQ(t.s.rflags, kIf | kIopl | kNt | kCf | 2);
  EXPECT_FALSE(t.s.nmi_blocked);

  t = T::protected32(0);
  t.put_stack({0x1000, T::kCode3 | 3, 2, 0x1'2345, T::kData3 | 3}, 4);
  t.s.seg[Ds] = t.s.seg[Ss];
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_EQ(t.s.gpr[Rsp], 0x1'2345u);
  EXPECT_TRUE(t.s.seg[Ds].unusable);
}

// What a program of CPL 3 and IOPL 0 may change.
TEST(Iret, FlagsByPrivilege) {
  T t = T::protected32(3);
  t.s.rflags |= kIf;
  t.put_stack({0x1000, T::kCode3 | 3, kIopl | kCf | kAc | kVif | kVm}, 4);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_EQ(t.s.rflags, 2 | kIf | kCf | kAc);
  t.s.rflags |= 3u << 12;
  t.s.gpr[Rsp] = T::kOuterStack;
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_EQ(t.s.rflags, 2 | kIopl | kCf | kAc);
}

TEST(Iret, SixteenBitStackKeepsTheUpperHalfOfEsp) {
  T t = T::protected32(0);
  t.s.gpr[Rsp] = 0x1'9000;
  t.define(T::kFree, descriptor(0x100, 0xffff, 0x00f3));
  t.put_stack({0x1000, T::kCode3 | 3, 2, 0x2345, T::kFree | 3}, 4);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_EQ(t.s.gpr[Rsp], 0x1'2345u);
}

TEST(Iret, IntoVirtual8086Mode) {
  T t = T::protected32(0);
  t.put_stack({0x1234, 0x500, kVm | kIf | 2, 0xfffe, 0x600, 0x700, 0x800, 0x900, 0xa00}, 4);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, kNext).ok());
  EXPECT_TRUE(v86_mode(t.s));
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_EQ(t.s.rip, 0x1234u);
  EXPECT_EQ(t.s.gpr[Rsp], 0xfffeu);
  EXPECT_EQ(t.s.seg[Cs],
            (Segment{.selector = 0x500, .attributes = 0xf3, .limit = 0xffff, .base = 0x5000}));
  EXPECT_EQ(t.s.seg[Es].selector, 0x700);
  EXPECT_EQ(t.s.seg[Gs].selector, 0xa00);
  EXPECT_EQ(t.s.rflags, kVm | kIf | 2);
}

TEST(Iret, InsideVirtual8086Mode) {
  T t = T::v86(0);
  t.put_stack({0x20, 0x600, kIf | 2}, 2);
  OrFault<void> denied = interrupt_return(t.s, t.bus, 2, kNext);
  EXPECT_EQ(denied.error(), general_protection());
  t.s.cr4 |= kCr4Vme;
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 2, kNext).ok());
  EXPECT_EQ(t.s.rflags, kVm | kVif | 2);
  t = T::v86(3);
  t.put_stack({0x20, 0x600, kIf | 2}, 2);  // IOPL itself does not change
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 2, kNext).ok());
  EXPECT_EQ(t.s.rflags, kVm | kIopl | kIf | 2);
}

// SDM vol. 3 §6.14: 64-bit mode always pops SS:RSP, and takes a null SS below CPL 3.
TEST(Iret, LongMode) {
  T t = T::long64(0);
  t.put_stack({0x1000, T::kCode64, 2, 0x1'2345, 0}, 8);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 8, kNext).ok());
  EXPECT_EQ(t.s.gpr[Rsp], 0x1'2345u);
  EXPECT_TRUE(t.s.seg[Ss].unusable);
  EXPECT_EQ(t.s.cpl(), 0);

  t = T::long64(0);
  t.put_stack({0x7fff'ffff'f000, T::kCode64User | 3, 2, 0x7fff'ffff'e000, T::kData3 | 3}, 8);
  ASSERT_TRUE(interrupt_return(t.s, t.bus, 8, kNext).ok());
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_EQ(t.s.gpr[Rsp], 0x7fff'ffff'e000u);

  const auto fault = [](u64 rip, u16 cs, u16 ss) {
    T u = T::long64(0);
    u.put_stack({rip, cs, 2, 0x1000, ss}, 8);
    OrFault<void> done = interrupt_return(u.s, u.bus, 8, kNext);
    return done ? Fault{} : done.error();
  };
  EXPECT_EQ(fault(0x1000, T::kCode64User | 3, 3), general_protection());
  EXPECT_EQ(fault(u64{1} << 63, T::kCode64, T::kData0), general_protection());
  EXPECT_EQ(fault(0x1000, T::kCode0, 0), general_protection());  // to compatibility mode
  EXPECT_EQ(fault(0x1000, T::kCode3 | 3, T::kData3 | 3), Fault{});
  t = T::long64(0);
  t.s.rflags |= kNt;
  EXPECT_EQ(interrupt_return(t.s, t.bus, 8, kNext).error(), general_protection());
}

// A task with all registers different, at kNewTss.
void put_task(T& t, u16 access = 0x89) {
  t.define(T::kFree, descriptor(kNewTss, 0x67, access));
  t.bus.put(kNewTss + 0x20, 4, 0x7777);
  t.bus.put(kNewTss + 0x24, 4, kCf | 2);
  for (unsigned i = 0; i < 8; ++i) t.bus.put(kNewTss + 0x28 + 4 * i, 4, 0x1000 * (i + 1));
  const u16 selectors[] = {T::kData0, T::kCode0, T::kData0, T::kData0, 0, 0};
  for (unsigned i = 0; i < 6; ++i) t.bus.put(kNewTss + 0x48 + 4 * i, 4, selectors[i]);
}

// SDM vol. 3 table 8-2.
TEST(Task, JumpCallAndReturn) {
  T t = T::protected32(0);
  put_task(t);
  t.s.gpr[Rax] = 0xaaaa'bbbb;
  t.s.dr7 |= 0x55;
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree, 0}, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0x7777u);
  EXPECT_EQ(t.s.rflags, kCf | kNt | 2);
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(t.s.gpr[i], 0x1000u * (i + 1));
  EXPECT_EQ(t.s.seg[Ds].selector, T::kData0);
  EXPECT_TRUE(t.s.seg[Fs].unusable);
  EXPECT_EQ(t.s.dr7, 0x400u);
  EXPECT_EQ(t.bus.get(T::kGdt + T::kTr + 5, 1), 0x8bu);    // still busy
  EXPECT_EQ(t.bus.get(T::kGdt + T::kFree + 5, 1), 0x8bu);  // busy as well
  EXPECT_EQ(t.bus.get(kNewTss, 2), T::kTr);
  EXPECT_EQ(t.bus.get(T::kTss + 0x20, 4), kNext);
  EXPECT_EQ(t.bus.get(T::kTss + 0x28, 4), 0xaaaa'bbbbu);

  ASSERT_TRUE(interrupt_return(t.s, t.bus, 4, 0x7779).ok());
  EXPECT_EQ(t.s.rip, kNext);
  EXPECT_EQ(t.s.gpr[Rax], 0xaaaa'bbbbu);
  EXPECT_EQ(t.s.tr.selector, T::kTr);
  EXPECT_FALSE(t.s.rflags & kNt);
  EXPECT_EQ(t.bus.get(T::kGdt + T::kFree + 5, 1), 0x89u);  // available again
  EXPECT_EQ(t.bus.get(kNewTss + 0x20, 4), 0x7779u);
  EXPECT_FALSE(t.bus.get(kNewTss + 0x24, 4) & kNt);

  put_task(t);
  ASSERT_TRUE(far_jump(t.s, t.bus, {T::kFree, 0}, 4, kNext).ok());
  EXPECT_EQ(t.bus.get(T::kGdt + T::kTr + 5, 1), 0x89u);
  EXPECT_FALSE(t.s.rflags & kNt);
}

TEST(Task, ReturnNeedsABusyTask) {
  T t = T::protected32(0);
  put_task(t);
  t.s.rflags |= kNt;
  t.bus.put(T::kTss, 2, T::kFree);
  EXPECT_EQ(interrupt_return(t.s, t.bus, 4, kNext).error(), invalid_tss(T::kFree));
  t.bus.put(T::kTss, 2, 0x100);
  EXPECT_EQ(interrupt_return(t.s, t.bus, 4, kNext).error(), invalid_tss(0x100));
}

// SDM vol. 3 table 8-1: faults in the new task, with its selectors.
TEST(Task, BadSegmentsFaultInTheNewTask) {
  const auto fault = [](u16 offset, u16 selector, u64 target = 0) {
    T t = T::protected32(0);
    put_task(t);
    if (target) t.define(0x70, target);
    t.bus.put(kNewTss + offset, 4, selector);
    OrFault<void> done = far_jump(t.s, t.bus, {T::kFree, 0}, 4, kNext);
    EXPECT_FALSE(done.ok());
    EXPECT_EQ(t.s.tr.selector, T::kFree);
    EXPECT_EQ(t.s.rip, 0x7777u);
    return done ? Fault{} : done.error();
  };
  EXPECT_EQ(fault(0x60, T::kCode0), invalid_tss(T::kCode0));                         // LDT
  EXPECT_EQ(fault(0x4c, 0), invalid_tss(0));                                         // CS
  EXPECT_EQ(fault(0x4c, T::kData0), invalid_tss(T::kData0));                         // CS
  EXPECT_EQ(fault(0x4c, 0x70, descriptor(0, 0xf'ffff, 0xc01b)), not_present(0x70));  // CS
  EXPECT_EQ(fault(0x50, T::kData3 | 3), invalid_tss(T::kData3));                     // SS
  EXPECT_EQ(fault(0x50, 0x70, descriptor(0, 0xf'ffff, 0xc013)), stack_fault(0x70));  // SS
  EXPECT_EQ(fault(0x54, 0x70, descriptor(0, 0xf'ffff, 0xc013)), not_present(0x70));  // DS
  EXPECT_EQ(fault(0x54, 0x70, descriptor(0, 0xf'ffff, 0xc099)), invalid_tss(0x70));  // DS
}

TEST(Task, SixteenBitTask) {
  T t = T::protected32(0);
  t.define(T::kFree, descriptor(kNewTss, 0x2b, 0x81));
  t.bus.put(kNewTss + 0x0e, 2, 0x7777);
  t.bus.put(kNewTss + 0x10, 2, 2);
  t.bus.put(kNewTss + 0x1a, 2, 0x9ff0);
  t.bus.put(kNewTss + 0x24, 2, T::kCode0);
  t.bus.put(kNewTss + 0x26, 2, T::kData0);
  ASSERT_TRUE(far_call(t.s, t.bus, {T::kFree, 0}, 4, kNext).ok());
  EXPECT_EQ(t.s.rip, 0x7777u);
  EXPECT_EQ(t.s.gpr[Rsp], 0x9ff0u);
  EXPECT_EQ(t.s.tr.type(), kTss16Busy);
}

TEST(Task, PortPermissions) {
  T t = T::protected32(3);
  EXPECT_EQ(check_io(t.s, t.bus, 0x80, 1).error(), general_protection());
  t.s.tr.limit = 0x68 + 0x20;
  t.bus.put(T::kTss + 0x66, 2, 0x68);
  EXPECT_TRUE(check_io(t.s, t.bus, 0x80, 4).ok());
  t.bus.put(T::kTss + 0x68 + 0x10, 1, 0x08);  // port 83h
  EXPECT_TRUE(check_io(t.s, t.bus, 0x80, 1).ok());
  EXPECT_EQ(check_io(t.s, t.bus, 0x80, 4).error(), general_protection());
  EXPECT_TRUE(check_io(t.s, t.bus, 0x84, 4).ok());
  EXPECT_EQ(check_io(t.s, t.bus, 0x100, 1).error(), general_protection());  // beyond the limit
  t.s.rflags |= kIopl;
  EXPECT_TRUE(check_io(t.s, t.bus, 0xffff, 1).ok());
  t.s.rflags |= kVm;  // virtual-8086 mode always asks the bitmap
  EXPECT_EQ(check_io(t.s, t.bus, 0x83, 1).error(), general_protection());
}

}  // namespace
}  // namespace menura::x86
