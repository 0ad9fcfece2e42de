#include "cpu/x86/state.h"

#include <gtest/gtest.h>

#include "state/tree.h"

namespace menura::x86 {
namespace {

constexpr u32 kSignature = 0x000806f8;

// Every field different from its default and from its neighbours.
State scrambled() {
  State s;
  u64 next = 0x1122'3344'5566'0001;
  for (u64& r : s.gpr) r = next++;
  s.rip = next++;
  s.rflags = 0xffff'ffff;
  for (Segment& seg : s.seg)
    seg = {.selector = static_cast<u16>(next++),
           .attributes = 0x60ff,
           .limit = 1,
           .base = next++,
           .unusable = true};
  s.ldtr = s.tr = s.seg[0];
  s.gdtr = {.base = next++, .limit = 7};
  s.idtr = {.base = next++, .limit = 9};
  s.cr0 = 0xe005'003f;
  s.cr2 = next++;
  s.cr3 = next++;
  s.cr4 = next++;
  s.cr8 = 5;
  s.dr = {1, 2, 3, 4};
  s.dr6 = 6;
  s.dr7 = 7;
  s.efer = kEferLma | kEferLme;
  s.xcr0 = 0xe7;
  s.x87 = {.fcw = 0x37f, .fsw = 0x3800, .ftw = 0x81, .fop = 3, .fip = 4, .fdp = 5};
  s.x87.st[3][9] = 0x40;
  s.mxcsr = 0x1fa0;
  s.vec[15].qwords = {1, 2, 3, 4};
  s.avx512.opmask[7] = 8;
  s.avx512.zmm_high[1].qwords[2] = 9;
  s.avx512.zmm16[15][7] = 10;
  s.pkru = 0x5555'5554;
  for (u64* msr : {&s.tsc,
                   &s.tsc_adjust,
                   &s.tsc_aux,
                   &s.tsc_deadline,
                   &s.apic_base,
                   &s.pat,
                   &s.star,
                   &s.lstar,
                   &s.cstar,
                   &s.fmask,
                   &s.kernel_gs_base,
                   &s.sysenter_cs,
                   &s.sysenter_esp,
                   &s.sysenter_eip,
                   &s.misc_enable,
                   &s.feature_control,
                   &s.spec_ctrl,
                   &s.xss,
                   &s.smbase,
                   &s.mtrr.def_type,
                   &s.mtrr.fixed[10],
                   &s.mtrr.base[7],
                   &s.mtrr.mask[7],
                   &s.mcg_status,
                   &s.mcg_ctl,
                   &s.mce[39],
                   &s.kvm_system_time,
                   &s.kvm_wall_clock,
                   &s.kvm_async_pf,
                   &s.kvm_steal_time,
                   &s.kvm_pv_eoi,
                   &s.kvm_poll_control})
    *msr = next++;
  s.mcg_cap = 0x10a;
  s.event = {
      .valid = true, .vector = 13, .is_exception = true, .has_error_code = true, .error_code = 7};
  s.interrupt_shadow = s.nmi_pending = s.nmi_injected = s.nmi_blocked = s.smi_pending = s.in_smm =
      true;
  s.activity = Activity::Halted;
  s.sipi_vector = 0x9a;
  return s;
}

// Intel SDM vol. 3, table 10-1, the rows that are equal in the columns Reset and INIT.
void expect_common(const State& s) {
  EXPECT_EQ(s.rflags, 0x2u);
  EXPECT_EQ(s.rip, 0xfff0u);
  EXPECT_EQ(s.cr2 | s.cr3 | s.cr4 | s.cr8, 0u);
  EXPECT_EQ(s.seg[Cs], (Segment{0xf000, 0x93, 0xffff, 0xffff'0000}));
  for (const SegReg r : {Es, Ss, Ds, Fs, Gs}) EXPECT_EQ(s.seg[r], (Segment{0, 0x93, 0xffff, 0}));
  EXPECT_EQ(s.gpr[Rdx], kSignature);
  for (size_t i = 0; i < kGprCount; i++) {
    if (i != Rdx) {
      EXPECT_EQ(s.gpr[i], 0u) << i;
    }
  }
  EXPECT_EQ(s.gdtr, (TableRegister{0, 0xffff}));
  EXPECT_EQ(s.idtr, (TableRegister{0, 0xffff}));
  EXPECT_EQ(s.ldtr.base, 0u);
  EXPECT_EQ(s.ldtr.limit, 0xffffu);
  EXPECT_TRUE(s.ldtr.present() && s.tr.present());
  EXPECT_EQ(s.dr, (std::array<u64, 4>{}));
  EXPECT_EQ(s.dr6, 0xffff'0ff0u);
  EXPECT_EQ(s.dr7, 0x400u);
  EXPECT_EQ(s.efer, 0u);
  EXPECT_EQ(s.event, PendingEvent{});
  EXPECT_EQ(s.cpl(), 0);
  EXPECT_FALSE(s.long_mode_active());
}

TEST(StateReset, PowerOnFollowsTheTable) {
  State s = scrambled();
  s.reset(State::ResetCause::PowerOn, kSignature, true);
  expect_common(s);
  EXPECT_EQ(s.cr0, 0x6000'0010u);
  EXPECT_EQ(s.x87.fcw, 0x40);
  EXPECT_EQ(s.x87.fsw, 0);
  EXPECT_EQ(s.x87.ftw, 0xff);  // 5555h: all valid zeros, none empty
  EXPECT_EQ(s.x87.st, (decltype(s.x87.st){}));
  EXPECT_EQ(s.mxcsr, 0x1f80u);
  EXPECT_EQ(s.vec, (decltype(s.vec){}));
  EXPECT_EQ(s.avx512, Avx512State{});
  EXPECT_EQ(s.xcr0, 1u);
  EXPECT_EQ(s.tsc, 0u);
  EXPECT_EQ(s.pat, 0x0007'0406'0007'0406u);
  EXPECT_EQ(s.apic_base, 0xfee0'0900u);
  EXPECT_EQ(s.smbase, 0x30000u);
  EXPECT_EQ(s.mtrr, Mtrrs{});
  EXPECT_EQ(s.mcg_cap, 0x10au);
  EXPECT_EQ(s.mce[0], ~u64{0});
  EXPECT_EQ(s.mce[1], 0u);
  EXPECT_EQ(s.activity, Activity::Running);
  EXPECT_FALSE(s.in_smm);
}

TEST(StateReset, InitKeepsWhatTheTableKeeps) {
  const State before = scrambled();
  State s = before;
  s.reset(State::ResetCause::Init, kSignature, true);
  expect_common(s);
  // CD and NW unchanged, ET set, all others cleared.
  EXPECT_EQ(s.cr0, 0x6000'0010u);
  State no_cache = before;
  no_cache.cr0 = 0x8000'0001;
  no_cache.reset(State::ResetCause::Init, kSignature, true);
  EXPECT_EQ(no_cache.cr0, 0x10u);
  EXPECT_EQ(s.x87, before.x87);
  EXPECT_EQ(s.vec, before.vec);
  EXPECT_EQ(s.avx512, before.avx512);
  EXPECT_EQ(s.mxcsr, before.mxcsr);
  EXPECT_EQ(s.xcr0, before.xcr0);
  EXPECT_EQ(s.tsc, before.tsc);
  EXPECT_EQ(s.apic_base, before.apic_base);
  EXPECT_EQ(s.mtrr, before.mtrr);
  EXPECT_EQ(s.mce, before.mce);
  EXPECT_EQ(s.pat, before.pat);
  EXPECT_EQ(s.lstar, before.lstar);
}

TEST(StateReset, OnlyTheBootstrapProcessorRuns) {
  State s;
  s.reset(State::ResetCause::PowerOn, kSignature, false);
  EXPECT_EQ(s.activity, Activity::WaitForSipi);
  EXPECT_EQ(s.apic_base, 0xfee0'0800u);
  s.activity = Activity::Running;
  s.reset(State::ResetCause::Init, kSignature, false);
  EXPECT_EQ(s.activity, Activity::WaitForSipi);
}

TEST(StateDescribe, EveryFieldSurvivesTheStream) {
  State saved = scrambled();
  const auto tree = from_stream(to_stream(save_state(saved, "cpu")));
  ASSERT_TRUE(tree.ok());
  State loaded;
  ASSERT_TRUE(load_state(loaded, *tree).ok());
  EXPECT_EQ(loaded, saved);
}

TEST(StatePrint, ShowsModeFlagsAndSegments) {
  State s;
  s.reset(State::ResetCause::PowerOn, kSignature, true);
  const std::string real = print_registers(s);
  EXPECT_NE(real.find("RIP=000000000000fff0 RFL=00000002 [--------] CPL=0 real running"),
            std::string::npos)
      << real;
  EXPECT_NE(real.find("CS =f000 00000000ffff0000 0000ffff 0093 DPL=0 DS [-WA]"), std::string::npos);
  EXPECT_NE(real.find("CR0=60000010"), std::string::npos);
  EXPECT_NE(real.find("XMM15=0000000000000000 0000000000000000"), std::string::npos);

  s.cr0 |= kCr0Pe | kCr0Pg;
  s.efer = kEferLma | kEferLme;
  s.seg[Cs] = {.selector = 0x33, .attributes = 0xa0fb, .limit = 0xffff'ffff};
  s.seg[Ss] = {.selector = 0x2b, .attributes = 0xc0f3, .limit = 0xffff'ffff};
  s.rflags = kRflagsAlwaysOne | kIf | kZf;
  const std::string user = print_registers(s);
  EXPECT_NE(user.find("[---Z---I] CPL=3 64-bit running"), std::string::npos) << user;
  EXPECT_NE(user.find("DPL=3 CS64 [-RA]"), std::string::npos) << user;
}

}  // namespace
}  // namespace menura::x86
