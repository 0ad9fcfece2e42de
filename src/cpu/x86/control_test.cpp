#include "cpu/x86/control.h"

#include <gtest/gtest.h>

#include "cpu/x86/flags.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/smm.h"
#include "cpu/x86/syscall.h"
#include "cpu/x86/test_system.h"

namespace menura::x86 {
namespace {

using T = TestSystem;

constexpr u32 kEfer = 0xc000'0080;
constexpr u32 kGenu = 0x756e'6547;

// All features of leaves 1, 7 and 80000001h.
T featured(T t) {
  t.bus.leaves[{1, 0}] = {0, 0, ~0u, ~0u};
  t.bus.leaves[{7, 0}] = {0, ~0u, ~0u, ~0u};
  t.bus.leaves[{0x8000'0001, 0}] = {0, 0, ~0u, ~0u};
  t.bus.leaves[{0x8000'0008, 0}] = {0, 0, 0, 0};
  t.bus.leaves[{0xd, 0}] = {7, 0, 0, 0};
  return t;
}

Fault fault_of(T& t, unsigned number, u64 value) {
  const State before = t.s;
  OrFault<void> done = write_control(t.s, t.bus, number, value);
  if (done) return {};
  EXPECT_EQ(t.s, before);
  return done.error();
}

// SDM vol. 2, MOV to CR0.
TEST(Control, Cr0Checks) {
  T t = featured(T::protected32(0));
  EXPECT_EQ(fault_of(t, 0, kCr0Pg), general_protection());           // without PE
  EXPECT_EQ(fault_of(t, 0, kCr0Pe | kCr0Nw), general_protection());  // without CD
  EXPECT_EQ(fault_of(t, 0, kCr0Pe | 0x40), Fault{});                 // reserved bits are ignored
  EXPECT_EQ(t.s.cr0, kCr0Pe | kCr0Et);                               // ET is wired
  EXPECT_EQ(fault_of(t, 0, 0), Fault{});
  EXPECT_TRUE(real_mode(t.s));
}

// SDM vol. 3 §10.8.5: the way into long mode and out of it.
TEST(Control, LongModeComesAndGoes) {
  T t = featured(T::protected32(0));
  ASSERT_TRUE(write_msr(t.s, t.bus, kEfer, kEferLme).ok());
  EXPECT_EQ(fault_of(t, 0, kCr0Pe | kCr0Pg), general_protection());  // without PAE
  EXPECT_EQ(fault_of(t, 4, kCr4Pae), Fault{});
  t.s.tr.attributes = 0x83;  // a 16-bit TSS
  EXPECT_EQ(fault_of(t, 0, kCr0Pe | kCr0Pg), general_protection());
  t.s.tr.attributes = 0x8b;
  EXPECT_EQ(fault_of(t, 0, kCr0Pe | kCr0Pg), Fault{});
  EXPECT_TRUE(t.s.long_mode_active());
  EXPECT_FALSE(t.bus.flushes.empty());
  EXPECT_EQ(fault_of(t, 4, 0), general_protection());                   // PAE stays
  EXPECT_EQ(fault_of(t, 4, kCr4Pae | kCr4La57), general_protection());  // so does LA57
  EXPECT_EQ(write_msr(t.s, t.bus, kEfer, 0).error(), general_protection());
  ASSERT_TRUE(write_msr(t.s, t.bus, kEfer, kEferLme | kEferSce).ok());
  EXPECT_EQ(t.s.efer, kEferLme | kEferLma | kEferSce);
  EXPECT_EQ(fault_of(t, 0, kCr0Pe), Fault{});
  EXPECT_FALSE(t.s.long_mode_active());
  t = featured(T::long64(0));  // not from 64-bit code
  EXPECT_EQ(fault_of(t, 0, kCr0Pe), general_protection());
}

TEST(Control, PcidRules) {
  T t = featured(T::protected32(0));
  EXPECT_EQ(fault_of(t, 4, kCr4Pcide), general_protection());
  t = featured(T::long64(0));
  t.s.cr3 = 0x1001;
  EXPECT_EQ(fault_of(t, 4, kCr4Pae | kCr4Pcide), general_protection());
  t.s.cr3 = 0x1000;
  EXPECT_EQ(fault_of(t, 4, kCr4Pae | kCr4Pcide), Fault{});
  t.bus.flushes.clear();
  EXPECT_EQ(fault_of(t, 3, u64{1} << 63 | 0x2003), Fault{});
  EXPECT_EQ(t.s.cr3, 0x2003u);
  EXPECT_TRUE(t.bus.flushes.empty());
  EXPECT_EQ(fault_of(t, 3, 0x3004), Fault{});
  EXPECT_EQ(t.bus.flushes, (std::vector{TlbScope::OnePcid}));
  EXPECT_EQ(fault_of(t, 3, u64{1} << 46), general_protection());  // beyond MAXPHYADDR
}

TEST(Control, Cr4FollowsCpuid) {
  T t = T::protected32(0);
  t.bus.leaves[{1, 0}] = {.edx = 1u << 4};
  EXPECT_EQ(fault_of(t, 4, kCr4Tsd), Fault{});
  EXPECT_EQ(fault_of(t, 4, kCr4Pae), general_protection());
  EXPECT_EQ(fault_of(t, 4, kCr4Smep), general_protection());
}

// SDM vol. 3 §4.4.1: PAE's PDPTEs are checked when they are loaded.
TEST(Control, PdptesAreChecked) {
  T t = featured(T::protected32(0));
  t.s.cr4 = kCr4Pae;
  t.s.cr0 |= kCr0Pg;
  t.bus.put(0x7008, 8, 0x8001);
  EXPECT_EQ(fault_of(t, 3, 0x7000), Fault{});
  t.bus.put(0x7018, 8, 0x8003);  // bit 1 is reserved
  EXPECT_EQ(fault_of(t, 3, 0x7000), general_protection());
  t.bus.put(0x7018, 8, 0x8002);  // not present: ignored
  EXPECT_EQ(fault_of(t, 3, 0x7000), Fault{});
}

TEST(Control, OtherRegisters) {
  T t = featured(T::long64(0));
  EXPECT_EQ(fault_of(t, 8, 16), general_protection());
  EXPECT_EQ(fault_of(t, 8, 9), Fault{});
  EXPECT_EQ(*read_control(t.s, t.bus, 8), 9u);
  EXPECT_EQ(fault_of(t, 1, 0), undefined_opcode());
  EXPECT_EQ(fault_of(t, 5, 0), undefined_opcode());
  EXPECT_EQ(read_control(t.s, t.bus, 7).error(), undefined_opcode());
  t = featured(T::protected32(0));
  ASSERT_TRUE(load_machine_status(t.s, t.bus, 0xfff0 | kCr0Ts).ok());
  EXPECT_TRUE(t.s.cr0 & kCr0Pe);  // LMSW cannot clear it
  EXPECT_TRUE(t.s.cr0 & kCr0Ts);
  clear_task_switched(t.s);
  EXPECT_FALSE(t.s.cr0 & kCr0Ts);
}

TEST(Control, DebugRegisters) {
  T t = T::long64(0);
  ASSERT_TRUE(write_debug(t.s, 7, 0xffff'ffff & ~(1u << 13)).ok());
  EXPECT_EQ(t.s.dr7, 0xffff'07ffu);
  ASSERT_TRUE(write_debug(t.s, 6, 0).ok());
  EXPECT_EQ(*read_debug(t.s, 6), 0xffff'0ff0u);
  EXPECT_EQ(*read_debug(t.s, 4), 0xffff'0ff0u);
  EXPECT_EQ(write_debug(t.s, 6, u64{1} << 32).error(), general_protection());
  t.s.cr4 |= kCr4De;
  EXPECT_EQ(read_debug(t.s, 4).error(), undefined_opcode());
  EXPECT_EQ(read_debug(t.s, 8).error(), undefined_opcode());
  t.s.dr7 |= 1u << 13;
  EXPECT_EQ(write_debug(t.s, 0, 1).error(), Fault{kDb});
  EXPECT_TRUE(t.s.dr6 & kDr6Bd);
  EXPECT_EQ(t.s.dr[0], 0u);
}

// SDM vol. 1 §13.3.
TEST(Control, Xcr0) {
  T t = featured(T::long64(0));
  EXPECT_TRUE(write_xcr(t.s, t.bus, 0, 7).ok());
  for (u64 bad : {0, 2, 5, 8, 0xe7})
    EXPECT_EQ(write_xcr(t.s, t.bus, 0, bad).error(), general_protection()) << bad;
  EXPECT_EQ(write_xcr(t.s, t.bus, 1, 1).error(), general_protection());
  EXPECT_EQ(*read_xcr(t.s, 0), 7u);
  EXPECT_EQ(read_xcr(t.s, 2).error(), general_protection());
}

// SDM vol. 2, POPF table: what each level may change.
TEST(Flags, PopfByPrivilege) {
  constexpr u64 kAll = 0x3f'7fd5;
  const auto popped = [](T t, u64 flags, unsigned size, u64 extra = 0) {
    t.s.rflags |= extra;
    return *popped_flags(t.s, flags, size);
  };
  const u64 user = kArithmeticFlags | kTf | kDf | kNt | 2;
  EXPECT_EQ(popped(T::protected32(0), kAll, 4), user | kIf | kIopl | kAc | kId);
  EXPECT_EQ(popped(T::protected32(0), kAll, 2), user | kIf | kIopl);
  EXPECT_EQ(popped(T::protected32(3), kAll, 4), user | kAc | kId);
  EXPECT_EQ(popped(T::protected32(3), 0, 4, kIopl), 2 | kIopl);
  EXPECT_EQ(popped(T::protected32(3), kIf, 4, kIopl), 2 | kIopl | kIf);
  EXPECT_EQ(popped(T::protected32(1), kIf, 4, 1u << 12), 2 | kIf | 1u << 12);
  EXPECT_EQ(popped(T::protected32(0), 0, 4, kRf | kVif | kVip), 2 | kVif | kVip);
  EXPECT_EQ(popped(T::v86(3), kAll, 4), user | kIf | kIopl | kAc | kId | kVm);
}

TEST(Flags, Virtual8086) {
  T t = T::v86(0);
  EXPECT_EQ(popped_flags(t.s, 0, 2).error(), general_protection());
  EXPECT_EQ(pushed_flags(t.s, 2).error(), general_protection());
  EXPECT_EQ(clear_interrupt_flag(t.s).error(), general_protection());
  t.s.cr4 |= kCr4Vme;
  EXPECT_EQ(popped_flags(t.s, 0, 4).error(), general_protection());
  EXPECT_EQ(*popped_flags(t.s, kIf, 2), 2 | kVm | kVif);
  EXPECT_EQ(popped_flags(t.s, kTf, 2).error(), general_protection());
  t.s.rflags |= kVif;
  EXPECT_EQ(*pushed_flags(t.s, 2), 2 | kIf | kIopl);
  ASSERT_TRUE(clear_interrupt_flag(t.s).ok());
  EXPECT_FALSE(t.s.rflags & kVif);
  t.s.rflags |= kVip;
  EXPECT_EQ(set_interrupt_flag(t.s).error(), general_protection());
  EXPECT_EQ(popped_flags(t.s, kIf, 2).error(), general_protection());
}

TEST(Flags, StiAndPvi) {
  T t = T::protected32(3);
  EXPECT_EQ(set_interrupt_flag(t.s).error(), general_protection());
  t.s.cr4 |= kCr4Pvi;
  ASSERT_TRUE(set_interrupt_flag(t.s).ok());
  EXPECT_EQ(t.s.rflags, 2 | kVif);
  t.set_level(0);
  ASSERT_TRUE(set_interrupt_flag(t.s).ok());
  EXPECT_TRUE(t.s.rflags & kIf);
  EXPECT_TRUE(t.s.interrupt_shadow);
  t.s.interrupt_shadow = false;
  ASSERT_TRUE(set_interrupt_flag(t.s).ok());  // already set: no shadow
  EXPECT_FALSE(t.s.interrupt_shadow);
}

TEST(Syscall, LongModeThereAndBack) {
  T t = T::long64(3);
  t.s.star = u64{0x0048} << 32 | u64{0x0058} << 48;
  t.s.lstar = 0xffff'8000'0000'1000;
  t.s.fmask = kIf | kTf;
  t.s.rflags |= kIf | kCf | kRf;
  ASSERT_TRUE(system_call(t.s, t.bus, 0x4002).ok());
  EXPECT_EQ(t.s.rip, t.s.lstar);
  EXPECT_EQ(t.s.gpr[Rcx], 0x4002u);
  EXPECT_EQ(t.s.gpr[R11], 2 | kIf | kCf);
  EXPECT_EQ(t.s.rflags, 2 | kCf);
  EXPECT_EQ(t.s.seg[Cs], (Segment{.selector = 0x48, .attributes = 0xa09b, .limit = 0xffff'ffff}));
  EXPECT_EQ(t.s.seg[Ss], (Segment{.selector = 0x50, .attributes = 0xc093, .limit = 0xffff'ffff}));
  ASSERT_TRUE(system_return(t.s, t.bus, 8).ok());
  EXPECT_EQ(t.s.rip, 0x4002u);
  EXPECT_EQ(t.s.rflags, 2 | kIf | kCf);
  EXPECT_EQ(t.s.seg[Cs].selector, 0x6b);
  EXPECT_EQ(t.s.seg[Ss].selector, 0x63);
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_TRUE(t.s.code64());
  EXPECT_EQ(system_return(t.s, t.bus, 8).error(), general_protection());  // CPL 3
  t.set_level(0);
  t = T::long64(0);
  t.s.gpr[Rcx] = u64{1} << 63;
  EXPECT_EQ(system_return(t.s, t.bus, 8).error(), general_protection());
  t.s.efer &= ~u64{kEferSce};
  EXPECT_EQ(system_call(t.s, t.bus, 0).error(), undefined_opcode());
}

TEST(Syscall, VendorsDiffer) {
  T t = T::long64(3);
  t.s.seg[Cs] = Descriptor{.low = t.bus.get(T::kGdt + T::kCode3, 8)}.segment(T::kCode3 | 3);
  t.s.star = u64{0x0048} << 32;
  t.s.cstar = 0x9000;
  t.s.sysenter_cs = 0x48;
  EXPECT_EQ(system_enter(t.s, t.bus).error(), undefined_opcode());
  T intel = t;
  intel.bus.leaves[{0, 0}].ebx = kGenu;
  EXPECT_EQ(system_call(intel.s, intel.bus, 0).error(), undefined_opcode());
  EXPECT_TRUE(system_enter(intel.s, intel.bus).ok());
  EXPECT_TRUE(intel.s.code64());
  ASSERT_TRUE(system_call(t.s, t.bus, 0x4002).ok());
  EXPECT_EQ(t.s.rip, 0x9000u);
}

TEST(Syscall, SysenterAndSysexit) {
  T t = T::protected32(3);
  EXPECT_EQ(system_enter(t.s, t.bus).error(), general_protection());
  t.s.sysenter_cs = 0x60;
  t.s.sysenter_esp = 0x7000;
  t.s.sysenter_eip = 0x5000;
  t.s.rflags |= kIf;
  ASSERT_TRUE(system_enter(t.s, t.bus).ok());
  EXPECT_EQ(t.s.rip, 0x5000u);
  EXPECT_EQ(t.s.gpr[Rsp], 0x7000u);
  EXPECT_EQ(t.s.rflags, 2u);
  EXPECT_EQ(t.s.seg[Cs].selector, 0x60);
  EXPECT_EQ(t.s.seg[Ss].selector, 0x68);
  t.s.gpr[Rdx] = 0x4002;
  t.s.gpr[Rcx] = 0x9000;
  ASSERT_TRUE(system_exit(t.s, t.bus, 4).ok());
  EXPECT_EQ(t.s.seg[Cs].selector, 0x73);
  EXPECT_EQ(t.s.seg[Ss].selector, 0x7b);
  EXPECT_EQ(t.s.cpl(), 3);
  EXPECT_EQ(system_exit(t.s, t.bus, 4).error(), general_protection());
}

TEST(Msr, TableRules) {
  T t = featured(T::long64(0));
  const auto write = [&](u32 index, u64 value) {
    OrFault<void> done = write_msr(t.s, t.bus, index, value);
    return done ? Fault{} : done.error();
  };
  const Fault bad = general_protection();
  EXPECT_EQ(write(0xc000'0082, u64{1} << 63), bad);  // LSTAR: not canonical
  EXPECT_EQ(write(0xc000'0084, u64{1} << 32), bad);
  EXPECT_EQ(write(0xc000'0101, 0xffff'8000'0000'0000), Fault{});
  EXPECT_EQ(t.s.seg[Gs].base, 0xffff'8000'0000'0000u);
  EXPECT_EQ(write(0x277, 0x0007'0406'0007'0402), bad);  // PAT type 2
  EXPECT_EQ(write(0x277, 0x0007'0406'0007'0106), Fault{});
  EXPECT_EQ(write(0x2ff, 0xc06), Fault{});
  EXPECT_EQ(write(0x2ff, 0x1c06), bad);
  EXPECT_EQ(*read_msr(t.s, t.bus, 0xfe), 0x508u);
  EXPECT_EQ(write(0xfe, 1), bad);
  EXPECT_EQ(write(0x201, 0x3fff'c000'0800), Fault{});
  EXPECT_EQ(t.s.mtrr.mask[0], 0x3fff'c000'0800u);
  EXPECT_EQ(write(0x201, u64{1} << 50), bad);
  EXPECT_EQ(write(0x26f, 0x0606'0606'0606'0606), Fault{});
  EXPECT_EQ(t.s.mtrr.fixed[10], 0x0606'0606'0606'0606u);
  EXPECT_EQ(write(0x26f, 2), bad);
  EXPECT_EQ(read_msr(t.s, t.bus, 0x4b56'4d00).error(), bad);  // kvmclock
  EXPECT_EQ(read_msr(t.s, t.bus, 0x3a).error(), bad);         // no VMX
  EXPECT_EQ(read_msr(t.s, t.bus, 0x400).error(), bad);        // MCG_CAP says no banks
  t.s.mcg_cap = 1;
  EXPECT_EQ(write(0x401, 0), Fault{});
  EXPECT_EQ(write(0x401, 1), bad);
  EXPECT_EQ(read_msr(t.s, t.bus, 0x404).error(), bad);
}

TEST(Msr, FeaturesAndVendorsDecide) {
  T t = T::long64(0);
  EXPECT_EQ(read_msr(t.s, t.bus, 0x3b).error(), general_protection());
  EXPECT_EQ(read_msr(t.s, t.bus, 0x48).error(), general_protection());
  EXPECT_EQ(read_msr(t.s, t.bus, 0xc000'0103).error(), general_protection());
  EXPECT_EQ(*read_msr(t.s, t.bus, 0xc001'0015), 0u);
  t.bus.leaves[{0, 0}].ebx = kGenu;
  EXPECT_EQ(read_msr(t.s, t.bus, 0xc001'0015).error(), general_protection());
  EXPECT_EQ(*read_msr(t.s, t.bus, 0x17), 0u);
}

TEST(Msr, TimeStampCounterAndItsAdjustment) {
  T t = featured(T::long64(0));
  t.bus.time = 1000;
  ASSERT_TRUE(write_msr(t.s, t.bus, 0x3b, 50).ok());
  EXPECT_EQ(t.bus.time, 1050u);
  ASSERT_TRUE(write_msr(t.s, t.bus, 0x10, 2050).ok());
  EXPECT_EQ(*read_msr(t.s, t.bus, 0x3b), 1050u);
  EXPECT_EQ(t.bus.time, 2050u);
}

TEST(Msr, ApicRegistersAreTheApics) {
  T t = T::long64(0);
  t.bus.apic_registers[0x802] = 7;
  EXPECT_EQ(*read_msr(t.s, t.bus, 0x802), 7u);
  EXPECT_EQ(read_msr(t.s, t.bus, 0x8ff).error(), general_protection());
  EXPECT_EQ(write_msr(t.s, t.bus, 0x6e0, 1).error(), general_protection());
}

// The AMD64 map's revision and places (APM vol. 2 table 10-1), and the way there and back.
TEST(Smm, SavesEverythingAndResumes) {
  T t = T::long64(3);
  t.s.smbase = 0x3'0000;
  for (unsigned i = 0; i < 16; ++i) t.s.gpr[i] = 0x1111'0000'0000 + i;
  t.s.rflags |= kIf;
  t.s.cr3 = 0x5000;
  t.s.activity = Activity::Halted;
  State before = t.s;
  enter_smm(t.s, t.bus);
  EXPECT_TRUE(t.s.in_smm);
  EXPECT_TRUE(t.s.nmi_blocked);
  EXPECT_EQ(t.s.rip, 0x8000u);
  EXPECT_EQ(t.s.seg[Cs].base, 0x3'0000u);
  EXPECT_EQ(t.s.cr0 & (kCr0Pe | kCr0Pg), 0u);
  EXPECT_EQ(t.s.efer, 0u);
  EXPECT_EQ(t.s.cpl(), 0);
  EXPECT_EQ(t.bus.get(0x3'fefc, 4), 0x2'0064u);
  EXPECT_EQ(t.bus.get(0x3'ff00, 4), 0x3'0000u);
  EXPECT_EQ(t.bus.get(0x3'fff8, 8), before.gpr[Rax]);
  EXPECT_EQ(t.bus.get(0x3'ff80, 8), before.gpr[R15]);
  EXPECT_EQ(t.bus.get(0x3'ff78, 8), before.rip);
  t.bus.put(0x3'ff00, 4, 0xa'0000);  // SMBASE relocation
  ASSERT_TRUE(resume_from_smm(t.s, t.bus));
  before.smbase = 0xa'0000;
  EXPECT_EQ(t.s, before);
}

TEST(Smm, ImpossibleStateShutsDown) {
  T t = T::protected32(0);
  t.s.smbase = 0x3'0000;
  enter_smm(t.s, t.bus);
  t.bus.put(0x3'ff58, 8, kCr0Pg);  // paging without protection
  const State inside = t.s;
  EXPECT_FALSE(resume_from_smm(t.s, t.bus));
  EXPECT_EQ(t.s, inside);
}

}  // namespace
}  // namespace menura::x86
