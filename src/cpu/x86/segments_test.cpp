#include "cpu/x86/segments.h"

#include <gtest/gtest.h>

#include "cpu/x86/test_system.h"

namespace menura::x86 {
namespace {

constexpr u64 kGdt = 0x1000, kLdtAt = 0x2000;

class Segments : public ::testing::Test {
 protected:
  Segments() {
    s.reset(State::ResetCause::PowerOn, 0, true);
    s.cr0 |= kCr0Pe;
    s.gdtr = {.base = kGdt, .limit = 0xff};
    s.ldtr = null_segment();
    set_cpl(0);
  }
  void set_cpl(u8 cpl) {
    s.seg[Cs] = {.selector = static_cast<u16>(8 | cpl),
                 .attributes = static_cast<u16>(0xc09b | cpl << 5),
                 .limit = 0xffff'ffff};
    s.seg[Ss] = {.selector = static_cast<u16>(16 | cpl),
                 .attributes = static_cast<u16>(0xc093 | cpl << 5),
                 .limit = 0xffff'ffff};
  }
  void enter_long_mode() {
    s.efer = kEferLme | kEferLma;
    s.cr0 |= kCr0Pg;
    s.cr4 |= kCr4Pae;
    s.seg[Cs].attributes = static_cast<u16>((s.seg[Cs].attributes & ~0x4000) | 0x2000);
  }
  void define(u16 selector, u64 value) { bus.put(kGdt + (selector & ~7u), 8, value); }
  // The fault of a load, which must leave everything as it was; nothing when it succeeds.
  std::optional<Fault> load(SegReg seg, u16 selector) {
    const State before = s;
    OrFault<void> done = load_segment(s, bus, seg, selector);
    if (done) return std::nullopt;
    EXPECT_EQ(s, before);
    return done.error();
  }

  State s;
  FlatBus bus;
};

TEST_F(Segments, LoadTakesBaseLimitAndAttributesAndMarksAccessed) {
  define(0x20, descriptor(0x1234'5678, 0xf'ffff, 0xc092));
  EXPECT_EQ(load(Ds, 0x20), std::nullopt);
  EXPECT_EQ(
      s.seg[Ds],
      (Segment{.selector = 0x20, .attributes = 0xc093, .limit = 0xffff'ffff, .base = 0x1234'5678}));
  EXPECT_EQ(bus.get(kGdt + 0x25, 1), 0x93u);
  define(0x20, descriptor(0, 0xab'cd, 0x0093));
  EXPECT_EQ(load(Es, 0x20), std::nullopt);
  EXPECT_EQ(s.seg[Es].limit, 0xabcdu);
}

// Every type, DPL, CPL, RPL: against the conditions as the MOV page of SDM vol. 2 lists them.
TEST_F(Segments, DataLoadMatrix) {
  for (unsigned attributes = 0; attributes < 256; attributes++)
    for (u8 cpl : {0, 1, 2, 3})
      for (u16 rpl : {0, 1, 2, 3}) {
        set_cpl(cpl);
        define(0x20, descriptor(0, 0xffff, static_cast<u16>(attributes)));
        const unsigned type = attributes & 15, dpl = attributes >> 5 & 3;
        const bool system = !(attributes & 16), code = type >= 8;
        std::optional<Fault> wanted;
        if (system || (code && !(type & 2)))
          wanted = general_protection(0x20);
        else if ((!code || !(type & 4)) && (rpl > dpl || cpl > dpl))
          wanted = general_protection(0x20);
        else if (!(attributes & 0x80))
          wanted = not_present(0x20);
        EXPECT_EQ(load(Ds, 0x20 | rpl), wanted) << attributes << " " << cpl << " " << rpl;
      }
}

TEST_F(Segments, StackLoadMatrix) {
  for (unsigned attributes = 0; attributes < 256; attributes++)
    for (u8 cpl : {0, 3})
      for (u16 rpl : {0, 1, 3}) {
        set_cpl(cpl);
        define(0x20, descriptor(0, 0xffff, static_cast<u16>(attributes)));
        std::optional<Fault> wanted;
        // Writable data: S=1, type 001x or 011x.
        const bool writable = (attributes & 0x1a) == 0x12;
        if (rpl != cpl || !writable || (attributes >> 5 & 3) != cpl)
          wanted = general_protection(0x20);
        else if (!(attributes & 0x80))
          wanted = stack_fault(0x20);
        EXPECT_EQ(load(Ss, 0x20 | rpl), wanted) << attributes << " " << cpl << " " << rpl;
      }
}

TEST_F(Segments, NullSelectors) {
  for (u16 selector : {0, 1, 2, 3}) {
    EXPECT_EQ(load(Ds, selector), std::nullopt);
    EXPECT_TRUE(s.seg[Ds].unusable);
    EXPECT_EQ(load(Ss, selector), general_protection());
  }
  EXPECT_EQ(segment_linear(s, Ds, 0, 1, PageAccess::Read).error(), general_protection());
  enter_long_mode();
  EXPECT_EQ(load(Ss, 0), std::nullopt);
  EXPECT_EQ(s.cpl(), 0);
  EXPECT_EQ(load(Ss, 1), general_protection());
  set_cpl(3);
  enter_long_mode();
  EXPECT_EQ(load(Ss, 3), general_protection());
  EXPECT_TRUE(segment_linear(s, Ds, 0x1000, 8, PageAccess::Write).ok());
}

TEST_F(Segments, TablesEndAtTheirLimits) {
  s.gdtr.limit = 0x26;  // one byte too short for selector 20h
  define(0x20, descriptor(0, 0xffff, 0x93));
  EXPECT_EQ(load(Ds, 0x20), general_protection(0x20));
  s.gdtr.limit = 0x27;
  EXPECT_EQ(load(Ds, 0x20), std::nullopt);
  EXPECT_EQ(load(Ds, 0x0c), general_protection(0x0c));  // no LDT
  s.ldtr = {.selector = 0x30, .attributes = 0x82, .limit = 0xf, .base = kLdtAt};
  bus.put(kLdtAt + 8, 8, descriptor(0x777, 0x10, 0x93));
  EXPECT_EQ(load(Ds, 0x0c), std::nullopt);
  EXPECT_EQ(s.seg[Ds].base, 0x777u);
}

TEST_F(Segments, DescriptorTablesFault) {
  bus.fault_at(kGdt, 0x1000);
  EXPECT_EQ(load(Ds, 0x20), page_fault(kGdt + 0x20, 0));
}

TEST_F(Segments, LimitsOfExpandUpAndDown) {
  s.seg[Ds] = {.attributes = 0x93, .limit = 0x1000, .base = 0x100};
  EXPECT_EQ(*segment_linear(s, Ds, 0x1000, 1, PageAccess::Write), 0x1100u);
  EXPECT_EQ(segment_linear(s, Ds, 0x1000, 2, PageAccess::Write).error(), general_protection());
  s.seg[Ds].attributes = 0x97;  // expand-down, 16-bit
  EXPECT_EQ(segment_linear(s, Ds, 0x1000, 1, PageAccess::Read).error(), general_protection());
  EXPECT_TRUE(segment_linear(s, Ds, 0x1001, 1, PageAccess::Read).ok());
  EXPECT_TRUE(segment_linear(s, Ds, 0xffff, 1, PageAccess::Read).ok());
  EXPECT_EQ(segment_linear(s, Ds, 0xffff, 2, PageAccess::Read).error(), general_protection());
  s.seg[Ds].attributes = 0x4097;
  EXPECT_TRUE(segment_linear(s, Ds, 0xffff, 2, PageAccess::Read).ok());
  EXPECT_EQ(segment_linear(s, Ds, 0xffff'ffff, 2, PageAccess::Read).error(), general_protection());
  s.seg[Ss].limit = 0xff;
  EXPECT_EQ(segment_linear(s, Ss, 0x100, 1, PageAccess::Read).error(), stack_fault());
}

TEST_F(Segments, TypesOfAccess) {
  s.seg[Ds] = {.attributes = 0x91, .limit = 0xffff};  // read-only
  EXPECT_TRUE(segment_linear(s, Ds, 0, 1, PageAccess::Read).ok());
  EXPECT_EQ(segment_linear(s, Ds, 0, 1, PageAccess::Write).error(), general_protection());
  s.seg[Ds].attributes = 0x99;  // execute-only
  EXPECT_EQ(segment_linear(s, Ds, 0, 1, PageAccess::Read).error(), general_protection());
  s.seg[Ds].attributes = 0x9b;
  EXPECT_TRUE(segment_linear(s, Ds, 0, 1, PageAccess::Read).ok());
  EXPECT_EQ(segment_linear(s, Ds, 0, 1, PageAccess::Write).error(), general_protection());
}

TEST_F(Segments, LinearAddressesWrapAt4GAndAreCanonicalIn64BitMode) {
  s.seg[Ds] = {.attributes = 0xc093, .limit = 0xffff'ffff, .base = 0xffff'f000};
  EXPECT_EQ(*segment_linear(s, Ds, 0x2000, 4, PageAccess::Read), 0x1000u);
  enter_long_mode();
  EXPECT_EQ(*segment_linear(s, Ds, 0x2000, 4, PageAccess::Read), 0x2000u);
  s.seg[Gs].base = 0xffff'8000'0000'0000;
  EXPECT_EQ(*segment_linear(s, Gs, 8, 8, PageAccess::Read), 0xffff'8000'0000'0008u);
  const u64 edge = 0x0000'7fff'ffff'fffc;
  EXPECT_TRUE(segment_linear(s, Ds, edge, 4, PageAccess::Read).ok());
  EXPECT_EQ(segment_linear(s, Ds, edge, 8, PageAccess::Read).error(), general_protection());
  EXPECT_EQ(segment_linear(s, Ss, edge, 8, PageAccess::Read).error(), stack_fault());
}

TEST_F(Segments, RealModeKeepsTheLimit) {
  s.cr0 &= ~u64{kCr0Pe};
  s.seg[Ds] = {.attributes = 0xc093, .limit = 0xffff'ffff};
  EXPECT_EQ(load(Ds, 0x1234), std::nullopt);
  EXPECT_EQ(s.seg[Ds].base, 0x12340u);
  EXPECT_EQ(*segment_linear(s, Ds, 0x10'0000, 4, PageAccess::Write), 0x11'2340u);
  s.seg[Es] = {.attributes = 0x93, .limit = 0xffff};
  EXPECT_EQ(segment_linear(s, Es, 0xffff, 2, PageAccess::Read).error(), general_protection());
}

TEST_F(Segments, Virtual8086Loads) {
  set_cpl(3);
  s.rflags |= kVm;
  EXPECT_EQ(load(Fs, 0xffff), std::nullopt);
  EXPECT_EQ(s.seg[Fs],
            (Segment{.selector = 0xffff, .attributes = 0xf3, .limit = 0xffff, .base = 0xf'fff0}));
}

TEST_F(Segments, Ldtr) {
  define(0x30, descriptor(kLdtAt, 0x1f, 0x0082));
  ASSERT_TRUE(load_ldtr(s, bus, 0x30).ok());
  EXPECT_EQ(s.ldtr.base, kLdtAt);
  EXPECT_EQ(load_ldtr(s, bus, 0x34).error(), general_protection(0x34));  // in the LDT itself
  define(0x30, descriptor(kLdtAt, 0x1f, 0x0002));
  EXPECT_EQ(load_ldtr(s, bus, 0x30).error(), not_present(0x30));
  define(0x30, descriptor(kLdtAt, 0x1f, 0x0089));
  EXPECT_EQ(load_ldtr(s, bus, 0x30).error(), general_protection(0x30));
  ASSERT_TRUE(load_ldtr(s, bus, 0).ok());
  EXPECT_TRUE(s.ldtr.unusable);
}

TEST_F(Segments, TrBecomesBusy) {
  define(0x40, descriptor(0x5000, 0x67, 0x0089));
  ASSERT_TRUE(load_tr(s, bus, 0x40).ok());
  EXPECT_EQ(s.tr.type(), kTssBusy);
  EXPECT_EQ(bus.get(kGdt + 0x45, 1), 0x8bu);
  EXPECT_EQ(load_tr(s, bus, 0x40).error(), general_protection(0x40));
  EXPECT_EQ(load_tr(s, bus, 0).error(), general_protection());
  enter_long_mode();
  define(0x40, descriptor(0x5000, 0x67, 0x0089));
  bus.put(kGdt + 0x48, 8, 0xffff'8000);
  ASSERT_TRUE(load_tr(s, bus, 0x40).ok());
  EXPECT_EQ(s.tr.base, 0xffff'8000'0000'5000u);
  define(0x40, descriptor(0x5000, 0x67, 0x0089));
  bus.put(kGdt + 0x48, 8, u64{0x900} << 32);  // the upper half's type must be 0
  EXPECT_EQ(load_tr(s, bus, 0x40).error(), general_protection(0x40));
  define(0x40, descriptor(0x5000, 0x67, 0x0081));  // no 16-bit TSS in long mode
  EXPECT_EQ(load_tr(s, bus, 0x40).error(), general_protection(0x40));
}

TEST_F(Segments, QueriesAnswerWithoutFaulting) {
  set_cpl(3);
  define(0x20, descriptor(0, 0xffff, 0xc093));  // DPL 0
  EXPECT_FALSE(query_descriptor(s, bus, 0x20, Query::ReadAccess)->has_value());
  define(0x20, descriptor(0, 0xffff, 0xc0f1));
  EXPECT_TRUE(query_descriptor(s, bus, 0x23, Query::ReadAccess)->has_value());
  EXPECT_FALSE(query_descriptor(s, bus, 0x23, Query::WriteAccess)->has_value());
  EXPECT_FALSE(query_descriptor(s, bus, 0x1000, Query::Limit)->has_value());
  define(0x20, descriptor(0, 0xffff, 0x00ec));  // call gate
  EXPECT_TRUE(query_descriptor(s, bus, 0x23, Query::AccessRights)->has_value());
  EXPECT_FALSE(query_descriptor(s, bus, 0x23, Query::Limit)->has_value());
}

TEST_F(Segments, InnerSegmentsAreDroppedOnTheWayOut) {
  s.seg[Ds] = {.selector = 0x10, .attributes = 0xc093, .limit = 0xffff'ffff};
  s.seg[Es] = {.selector = 0x23, .attributes = 0xc0f3, .limit = 0xffff'ffff};
  s.seg[Fs] = {.selector = 0x18, .attributes = 0xc09f, .limit = 0xffff'ffff};  // conforming
  set_cpl(3);
  drop_inner_segments(s);
  EXPECT_TRUE(s.seg[Ds].unusable);
  EXPECT_EQ(s.seg[Ds].selector, 0);
  EXPECT_FALSE(s.seg[Es].unusable);
  EXPECT_FALSE(s.seg[Fs].unusable);
}

}  // namespace
}  // namespace menura::x86
