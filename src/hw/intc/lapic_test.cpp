// Expectations are from the Intel SDM vol. 3 chapter 11, by section or table.
#include "hw/intc/lapic.h"

#include <gtest/gtest.h>

#include <bit>

#include "base/bits.h"
#include "hw/intc/apic_test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

TEST(Lapic, ResetValues) {  // §11.4.7.1
  ApicMachine a(2);
  EXPECT_EQ(a.read(1, 0x20), 0x0100'0000u);
  EXPECT_EQ(a.read(1, 0x30), 0x0105'0014u);
  EXPECT_EQ(a.read(1, 0x80), 0u);
  EXPECT_EQ(a.read(1, 0xd0), 0u);
  EXPECT_EQ(a.read(1, 0xe0), 0xffff'ffffu);
  EXPECT_EQ(a.read(1, 0xf0), 0xffu);
  for (u64 lvt = 0x320; lvt <= 0x370; lvt += 0x10) EXPECT_EQ(a.read(1, lvt), 0x10000u) << lvt;
  for (const u64 zero : {0x280, 0x300, 0x310, 0x380, 0x390, 0x3e0}) EXPECT_EQ(a.read(1, zero), 0u);
  for (u64 offset = 0x100; offset < 0x280; offset += 0x10) EXPECT_EQ(a.read(1, offset), 0u);
  u64 base = 0;
  ASSERT_TRUE(a.lapics[1].read_msr(0x1b, base));
  EXPECT_EQ(base, 0xfee0'0800u);
  ASSERT_TRUE(a.lapics[0].read_msr(0x1b, base));
  EXPECT_EQ(base, 0xfee0'0900u);
}

TEST(Lapic, ClaimsItsPageWhereApicBasePutsIt) {
  ApicMachine a(1);
  EXPECT_TRUE(a.lapics[0].claims({0xfee0'0ffc}));
  EXPECT_FALSE(a.lapics[0].claims({0xfee0'1000}));
  ASSERT_TRUE(a.lapics[0].write_msr(0x1b, 0xfeb0'0900));
  EXPECT_TRUE(a.lapics[0].claims({0xfeb0'0020}));
  EXPECT_FALSE(a.lapics[0].claims({0xfee0'0020}));
  ASSERT_TRUE(a.lapics[0].write_msr(0x1b, 0xfeb0'0100));
  EXPECT_FALSE(a.lapics[0].claims({0xfeb0'0020})) << "disabled";
}

TEST(Lapic, OddAccesses) {
  ApicMachine a(1);
  EXPECT_EQ(a.lapics[0].read({0x30, 1}), 0x14u);
  EXPECT_EQ(a.lapics[0].read({0x32, 2}), 0x0105u);
  EXPECT_EQ(a.lapics[0].read({0x34, 4}), 0u);
  a.lapics[0].write({0x80, 1}, 0x50);
  a.lapics[0].write({0x84, 4}, 0x50);
  EXPECT_EQ(a.read(0, 0x80), 0u) << "only aligned dwords are written";
}

TEST(Lapic, HighestVectorFirstAndClassesNest) {  // §11.8.3
  ApicMachine a(1);
  a.enable(0);
  for (const u8 vector : {0x31, 0x35, 0x80, 0xfe}) a.ipi(0, 0, vector);
  EXPECT_EQ(a.ack(0), 0xfe);
  EXPECT_FALSE(a.cpus[0].intr);
  EXPECT_EQ(a.read(0, 0xa0), 0xf0u);
  EXPECT_EQ(a.read(0, 0x170), 0x4000'0000u);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), 0x80);
  a.ipi(0, 0, 0x8f);
  EXPECT_FALSE(a.cpus[0].intr) << "same class";
  a.ipi(0, 0, 0x90);
  EXPECT_EQ(a.ack(0), 0x90);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), -1);
  a.eoi(0);
  for (const int vector : {0x8f, 0x35, 0x31}) {
    EXPECT_EQ(a.ack(0), vector);
    a.eoi(0);
  }
  a.eoi(0);  // with nothing in service: nothing happens
  EXPECT_EQ(a.ack(0), -1);
}

TEST(Lapic, TaskPriorityHoldsClassesBack) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x80, 0x45);
  EXPECT_EQ(a.read(0, 0xa0), 0x45u);
  EXPECT_EQ(a.lapics[0].cr8(), 4);
  a.ipi(0, 0, 0x4f);
  EXPECT_FALSE(a.cpus[0].intr);
  a.lapics[0].set_cr8(3);
  EXPECT_TRUE(a.cpus[0].intr);
  EXPECT_EQ(a.read(0, 0x80), 0x30u);
  a.lapics[0].set_cr8(15);
  EXPECT_FALSE(a.cpus[0].intr);
}

TEST(Lapic, SameVectorTwiceCoalesces) {
  ApicMachine a(1);
  a.enable(0);
  const MsiMessage msi{.address = 0xfee0'0000, .data = 0x41};
  EXPECT_EQ(a.bus.send_msi(msi), IrqStatus::Delivered);
  EXPECT_EQ(a.bus.send_msi(msi), IrqStatus::Coalesced);
  a.ack(0);
  EXPECT_EQ(a.bus.send_msi(msi), IrqStatus::Delivered) << "one in service, one waits (§11.8.4)";
  EXPECT_EQ(a.bus.send_msi({.address = 0xfee0'5000, .data = 0x41}), IrqStatus::Ignored);
}

TEST(Lapic, SoftwareDisabled) {  // §11.4.7.2
  ApicMachine a(2);
  a.enable_all();
  a.write(1, 0x350, 0x700);
  a.write(1, 0xf0, 0xff);
  EXPECT_EQ(a.read(1, 0x350), 0x10700u) << "all LVT entries get masked";
  a.write(1, 0x350, 0x700);
  EXPECT_EQ(a.read(1, 0x350), 0x10700u) << "and stay so";
  a.ipi(0, 1, 0x50);
  EXPECT_FALSE(a.cpus[1].intr);
  a.ipi(0, 1, 0x400);
  a.ipi(0, 1, 0x200);
  a.ipi(0, 1, 0x500);
  a.ipi(0, 1, 0x69f);
  EXPECT_EQ(a.cpus[1].nmis, 1u);
  EXPECT_EQ(a.cpus[1].smis, 1u);
  EXPECT_EQ(a.cpus[1].inits, 1u);
  EXPECT_EQ(a.cpus[1].sipis, std::vector<u8>{0x9f});
}

TEST(Lapic, IpiShorthands) {  // §11.6.1
  ApicMachine a(4);
  a.enable_all();
  a.ipi(1, 3, 0x40);
  EXPECT_EQ(a.interrupted(), 0b1000u);
  a.ipi(1, 0, 0x40041);
  EXPECT_EQ(a.interrupted(), 0b1010u);
  a.ipi(1, 0, 0xc0042);
  EXPECT_EQ(a.interrupted(), 0b1111u);
  EXPECT_EQ(a.ack(1), 0x41) << "all but self";
  a.eoi(1);
  a.ipi(1, 0, 0x80043);
  EXPECT_EQ(a.ack(1), 0x43);
  EXPECT_EQ(a.ack(0), 0x43);
  a.ipi(2, 0xff, 0x44);
  EXPECT_EQ(a.ack(0), -1) << "same class as 43h";
  a.eoi(0);
  EXPECT_EQ(a.ack(0), 0x44) << "physical broadcast";
  a.ipi(0, 0, 0xc0400);
  EXPECT_EQ(a.cpus[0].nmis + a.cpus[1].nmis + a.cpus[2].nmis + a.cpus[3].nmis, 3u);
  a.ipi(0, 0, 0x40400);  // table 11-3: self takes fixed only
  a.ipi(0, 0, 0x80500);
  EXPECT_EQ(a.cpus[0].nmis, 0u);
  EXPECT_EQ(a.cpus[3].inits, 0u);
  a.ipi(0, 1, 0xc500);  // INIT asserted as a level, then de-asserted
  a.ipi(0, 1, 0x8500);
  EXPECT_EQ(a.cpus[1].inits, 1u);
}

TEST(Lapic, FlatLogicalDestinations) {  // §11.6.2.2
  ApicMachine a(4);
  a.enable_all();
  for (unsigned i = 0; i < 4; i++) a.write(i, 0xd0, 1u << (24 + i));
  a.ipi(0, 0b1010, 0x840);
  EXPECT_EQ(a.interrupted(), 0b1010u);
  a.ipi(0, 0xff, 0x841);
  EXPECT_EQ(a.interrupted(), 0b1111u);
  EXPECT_EQ(a.read(2, 0xd0), 0x0400'0000u);
}

TEST(Lapic, ClusterLogicalDestinations) {
  ApicMachine a(4);
  a.enable_all();
  const u8 ids[] = {0x11, 0x12, 0x21, 0x22};
  for (unsigned i = 0; i < 4; i++) {
    a.write(i, 0xe0, 0x0fff'ffff);
    a.write(i, 0xd0, u32{ids[i]} << 24);
  }
  a.ipi(0, 0x13, 0x840);
  EXPECT_EQ(a.interrupted(), 0b0011u);
  a.ipi(0, 0x2e, 0x840);
  EXPECT_EQ(a.interrupted(), 0b1011u);
  EXPECT_EQ(a.read(0, 0xe0), 0x0fff'ffffu);
}

TEST(Lapic, LowestPriorityGoesToTheLowestAndSpreads) {  // §11.6.2.4
  ApicMachine a(4);
  a.enable_all();
  for (unsigned i = 0; i < 4; i++) a.write(i, 0xd0, 1u << (24 + i));
  a.write(0, 0x80, 0x30);
  a.write(1, 0x80, 0x20);
  a.write(2, 0x80, 0x10);
  a.write(3, 0x80, 0x40);
  a.ipi(0, 0b1111, 0x980);
  EXPECT_EQ(a.interrupted(), 0b0100u);
  // The CPU that has it in service is the focus and takes it again, whatever its priority.
  EXPECT_EQ(a.ack(2), 0x80);
  a.write(2, 0x80, 0xf0);
  a.ipi(0, 0b1111, 0x980);
  EXPECT_EQ(a.interrupted(), 0u);
  EXPECT_EQ(a.read(2, 0x240), 1u);
  // Without focus checking the lowest takes it.
  for (unsigned i = 0; i < 4; i++) a.write(i, 0xf0, 0x3ff);
  a.ipi(0, 0b1111, 0x980);
  EXPECT_EQ(a.interrupted(), 0b0010u);
  // Equals share.
  ApicMachine b(4);
  b.enable_all();
  for (unsigned i = 0; i < 4; i++) b.write(i, 0xd0, 1u << (24 + i));
  std::array<unsigned, 4> got{};
  for (unsigned vector = 0x40; vector < 0x80; vector++) {
    b.ipi(0, 0b1111, 0x900 | vector);
    const u64 set = b.interrupted();
    ASSERT_EQ(std::popcount(set), 1);
    const unsigned cpu = static_cast<unsigned>(std::countr_zero(set));
    got[cpu]++;
    EXPECT_EQ(b.ack(cpu), static_cast<int>(vector));
    b.eoi(cpu);
  }
  EXPECT_EQ(got, (std::array<unsigned, 4>{16, 16, 16, 16}));
}

TEST(Lapic, ErrorsAreLatchedByAWriteOfEsr) {  // §11.5.3
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x370, 0xef);
  a.ipi(0, 0, 0x0f);  // illegal vector sent
  EXPECT_EQ(a.read(0, 0x280), 0u);
  EXPECT_EQ(a.ack(0), 0xef);
  a.eoi(0);
  a.bus.send_msi({.address = 0xfee0'0000, .data = 0x05});  // received
  EXPECT_FALSE(a.cpus[0].intr) << "not armed again before ESR is written";
  a.write(0, 0x280, 0);
  EXPECT_EQ(a.read(0, 0x280), 0x60u);
  a.write(0, 0x3f0, 0);  // no such register
  EXPECT_EQ(a.ack(0), 0xef);
  a.write(0, 0x280, 0);
  EXPECT_EQ(a.read(0, 0x280), 0x80u);
  a.write(0, 0x370, 0x0f);  // the error vector itself illegal: no endless recursion
  a.ipi(0, 0, 0x01);
  a.write(0, 0x280, 0);
  EXPECT_EQ(a.read(0, 0x280), 0x60u);
}

TEST(Lapic, ExtIntThroughLint0) {
  ApicMachine a(2);
  for (const u8 byte : {0x08, 0x04, 0x01}) {
    if (byte == 0x08) a.m.out8(0x20, 0x11);
    a.m.out8(0x21, byte);
  }
  a.pic.set_irq(1, true);
  EXPECT_EQ(a.interrupted(), 0b01u) << "the bootstrap CPU comes up as virtual wire";
  EXPECT_EQ(a.ack(0), 0x09);
  EXPECT_FALSE(a.cpus[0].intr);
  EXPECT_EQ(a.read(0, 0x100), 0u) << "ExtINT is the PIC's business, not ISR's";
  a.m.out8(0x20, 0x20);
  a.write(0, 0x350, 0x10700);
  a.pic.set_irq(0, true);
  EXPECT_EQ(a.interrupted(), 0u);
  a.enable(1);
  a.write(1, 0x350, 0x700);
  EXPECT_EQ(a.interrupted(), 0b10u);
  EXPECT_EQ(a.ack(1), 0x08);
}

TEST(Lapic, HardwareDisabledPinsReachTheCpu) {  // §11.4.3
  ApicMachine a(1);
  ASSERT_TRUE(a.lapics[0].write_msr(0x1b, 0xfee0'0100));
  a.bus.set_irq(0, true);
  EXPECT_TRUE(a.cpus[0].intr);
  a.bus.set_irq(1, true);
  EXPECT_EQ(a.cpus[0].nmis, 1u);
  EXPECT_EQ(a.bus.send_msi({.address = 0xfee0'0000, .data = 0x400}), IrqStatus::Ignored);
}

TEST(Lapic, Lint1NmiAndFixedLevelPin) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x360, 0x400);
  a.bus.set_irq(1, true);
  a.bus.set_irq(1, true);
  EXPECT_EQ(a.cpus[0].nmis, 1u);
  a.write(0, 0x350, 0x8050);  // fixed, level
  a.bus.set_irq(0, true);
  EXPECT_EQ(a.read(0, 0x350), 0xc050u) << "remote IRR";
  EXPECT_EQ(a.ack(0), 0x50);
  EXPECT_EQ(a.read(0, 0x1a0), 0x10000u) << "TMR";
  a.eoi(0);
  EXPECT_EQ(a.ack(0), 0x50) << "still asserted";
  a.bus.set_irq(0, false);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), -1);
  EXPECT_EQ(a.read(0, 0x350), 0x8050u);
}

TEST(Lapic, OneShotTimer) {  // §11.5.4
  ApicMachine a(1);
  a.enable(0);
  const unsigned divisors[] = {2, 4, 8, 16, 32, 64, 128, 1};
  const u32 codes[] = {0, 1, 2, 3, 8, 9, 10, 11};
  for (unsigned i = 0; i < 8; i++) {
    a.write(0, 0x3e0, codes[i]);
    EXPECT_EQ(a.read(0, 0x3e0), codes[i]);
    a.write(0, 0x320, 0x40);
    a.write(0, 0x380, 1000);
    a.m.step_ns(999 * divisors[i]);
    EXPECT_EQ(a.read(0, 0x390), 1u);
    EXPECT_FALSE(a.cpus[0].intr);
    a.m.step_ns(divisors[i]);
    EXPECT_EQ(a.read(0, 0x390), 0u);
    EXPECT_EQ(a.ack(0), 0x40);
    a.eoi(0);
    a.m.step_ns(1'000'000);
    EXPECT_FALSE(a.cpus[0].intr) << "once";
    EXPECT_EQ(a.read(0, 0x390), 0u);
    EXPECT_EQ(a.read(0, 0x380), 1000u);
  }
}

TEST(Lapic, PeriodicTimer) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x3e0, 3);  // by 16
  a.write(0, 0x320, 0x20040);
  a.write(0, 0x380, 62'500);  // 1 ms
  for (int tick = 0; tick < 5; tick++) {
    a.m.step_ns(999'999);
    EXPECT_FALSE(a.cpus[0].intr);
    a.m.step_ns(1);
    EXPECT_EQ(a.ack(0), 0x40);
    EXPECT_EQ(a.read(0, 0x390), 62'500u);
    a.eoi(0);
  }
  a.m.step_ns(160);
  EXPECT_EQ(a.read(0, 0x390), 62'490u);
  a.write(0, 0x320, 0x30040);  // masked: counts on silently
  a.m.step_ns(3'000'000);
  EXPECT_FALSE(a.cpus[0].intr);
  EXPECT_EQ(a.read(0, 0x390), 62'490u);
  a.write(0, 0x380, 0);  // stopped
  EXPECT_EQ(a.read(0, 0x390), 0u);
}

TEST(Lapic, DividerChangeKeepsTheCount) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x3e0, 11);
  a.write(0, 0x320, 0x40);
  a.write(0, 0x380, 1000);
  a.m.step_ns(400);
  a.write(0, 0x3e0, 0);
  EXPECT_EQ(a.read(0, 0x390), 600u);
  a.m.step_ns(1199);
  EXPECT_FALSE(a.cpus[0].intr);
  a.m.step_ns(1);
  EXPECT_TRUE(a.cpus[0].intr);
}

TEST(Lapic, AHostileTimerCannotKeepTheLoopBusy) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x3e0, 11);
  a.write(0, 0x320, 0x20040);
  a.write(0, 0x380, 1);
  unsigned ran = 0;
  for (const i64 end = a.m.time.now_ns() + 1'000'000; a.m.time.now_ns() < end; ran++)
    a.m.step_to_next_timer();
  EXPECT_LE(ran, 100u);
}

TEST(Lapic, TscDeadlineTimer) {  // §11.5.4.1
  ApicMachine a(1);
  a.enable(0);
  Lapic& lapic = a.lapics[0];
  u64 value = 1;
  ASSERT_TRUE(lapic.write_msr(0x6e0, 12'345));
  ASSERT_TRUE(lapic.read_msr(0x6e0, value));
  EXPECT_EQ(value, 0u) << "in other modes writes are ignored";
  a.write(0, 0x380, 1'000'000);
  a.write(0, 0x320, 0x40040);
  EXPECT_EQ(a.read(0, 0x380), 0u) << "a change of mode disarms";
  EXPECT_EQ(a.read(0, 0x390), 0u);
  lapic.write_msr(0x6e0, 2'500'000);  // 1 ms
  a.m.step_ns(999'999);
  EXPECT_FALSE(a.cpus[0].intr);
  lapic.read_msr(0x6e0, value);
  EXPECT_EQ(value, 2'500'000u);
  a.m.step_ns(1);
  EXPECT_EQ(a.ack(0), 0x40);
  a.eoi(0);
  lapic.read_msr(0x6e0, value);
  EXPECT_EQ(value, 0u) << "clears itself when it fires";
  lapic.write_msr(0x6e0, 1);  // in the past
  a.m.step_ns(0);
  EXPECT_EQ(a.ack(0), 0x40);
  a.eoi(0);
  lapic.write_msr(0x6e0, 3'000'000);
  lapic.write_msr(0x6e0, 0);  // disarmed
  lapic.write_msr(0x6e0, ~u64{0});
  a.m.step_ns(1'000'000'000);
  EXPECT_FALSE(a.cpus[0].intr);
  lapic.set_tsc(100);
  lapic.write_msr(0x6e0, 2'500'100);
  a.m.step_ns(999'999);
  EXPECT_FALSE(a.cpus[0].intr);
  a.m.step_ns(1);
  EXPECT_TRUE(a.cpus[0].intr);
  lapic.write_msr(0x6e0, 7'500'100);
  lapic.set_tsc(7'500'100);  // the guest moved its TSC past the deadline
  a.ack(0);
  a.eoi(0);
  a.m.step_ns(0);
  EXPECT_TRUE(a.cpus[0].intr);
}

TEST(Lapic, ModesOfApicBase) {  // figure 11-27
  ApicMachine a(1);
  Lapic& lapic = a.lapics[0];
  EXPECT_FALSE(lapic.write_msr(0x1b, 0xfee0'0400)) << "EXTD without EN";
  EXPECT_FALSE(lapic.write_msr(0x1b, 0xfee0'0801)) << "reserved";
  EXPECT_FALSE(lapic.write_msr(0x1b, bit(40) | 0x800)) << "beyond the physical address";
  EXPECT_TRUE(lapic.write_msr(0x1b, 0xfee0'0d00));
  EXPECT_FALSE(lapic.claims({0xfee0'0000}));
  EXPECT_FALSE(lapic.write_msr(0x1b, 0xfee0'0900)) << "x2APIC to xAPIC";
  EXPECT_TRUE(lapic.write_msr(0x1b, 0xfee0'0100));
  EXPECT_FALSE(lapic.write_msr(0x1b, 0xfee0'0d00)) << "disabled to x2APIC";
  EXPECT_TRUE(lapic.write_msr(0x1b, 0xfee0'0900));
}

TEST(Lapic, X2apicRegisters) {  // table 11-6
  ApicMachine a(2, 0x1234);
  Lapic& lapic = a.lapics[1];
  u64 value = 0;
  EXPECT_FALSE(lapic.read_msr(0x802, value)) << "not in xAPIC mode";
  a.enter_x2apic(1);
  ASSERT_TRUE(lapic.read_msr(0x802, value));
  EXPECT_EQ(value, 0x1235u);
  ASSERT_TRUE(lapic.read_msr(0x80d, value));
  EXPECT_EQ(value, 0x0123'0020u);
  for (const u32 msr : {0x800, 0x801, 0x809, 0x80b, 0x80c, 0x80e, 0x82f, 0x831, 0x83f, 0x840})
    EXPECT_FALSE(lapic.read_msr(msr, value)) << std::hex << msr;
  for (const u32 msr : {0x802, 0x803, 0x80a, 0x80d, 0x80e, 0x810, 0x820, 0x831, 0x839, 0x8ff})
    EXPECT_FALSE(lapic.write_msr(msr, 0)) << std::hex << msr;
  EXPECT_FALSE(lapic.write_msr(0x80b, 1));
  EXPECT_FALSE(lapic.write_msr(0x828, 1));
  EXPECT_FALSE(lapic.write_msr(0x808, 0x100));
  EXPECT_FALSE(lapic.write_msr(0x838, bit(32)));
  EXPECT_TRUE(lapic.write_msr(0x80b, 0));
  EXPECT_TRUE(lapic.write_msr(0x80f, 0x1ff));
  EXPECT_TRUE(lapic.write_msr(0x83f, 0x77));  // self IPI
  EXPECT_EQ(a.ack(1), 0x77);
  ASSERT_TRUE(lapic.read_msr(0x813, value));
  EXPECT_EQ(value, 0x80'0000u);
  ASSERT_TRUE(lapic.write_msr(0x830, u64{0x1235} << 32 | 0x90));
  ASSERT_TRUE(lapic.read_msr(0x830, value));
  EXPECT_EQ(value, u64{0x1235} << 32 | 0x90);
  EXPECT_EQ(a.ack(1), 0x90);
  EXPECT_FALSE(lapic.write_msr(0x830, 0x2000)) << "reserved bit 13";
}

TEST(Lapic, X2apicClustersOverManyCpus) {
  ApicMachine a(600);
  for (unsigned i = 0; i < 600; i++) {
    a.enter_x2apic(i);
    ASSERT_TRUE(a.lapics[i].write_msr(0x80f, 0x1ff));
  }
  const auto interrupted = [&] {
    std::vector<unsigned> set;
    for (unsigned i = 0; i < 600; i++)
      if (a.cpus[i].intr) set.push_back(i);
    return set;
  };
  a.lapics[0].write_msr(0x830, u64{300} << 32 | 0x40);  // physical
  EXPECT_EQ(interrupted(), std::vector<unsigned>{300});
  a.ack(300);
  a.lapics[0].write_msr(0x830, u64{0x0024'8001} << 32 | 0x850);  // cluster 24h, members 0 and 15
  EXPECT_EQ(interrupted(), (std::vector<unsigned>{0x240, 0x24f}));
  a.ack(0x240), a.ack(0x24f);
  a.lapics[5].write_msr(0x830, u64{0xff} << 32 | 0x60);
  EXPECT_EQ(interrupted(), std::vector<unsigned>{0xff}) << "FFh is an ID like others here";
  a.ack(0xff);
  a.lapics[5].write_msr(0x830, u64{0xffff'ffff} << 32 | 0x70);
  EXPECT_EQ(interrupted().size(), 600u);
}

TEST(Lapic, ExtendedMessageDestinations) {
  ApicMachine a(3, 0x2fe);
  for (unsigned i = 0; i < 3; i++) {
    a.enter_x2apic(i);
    a.lapics[i].write_msr(0x80f, 0x1ff);
  }
  const MsiMessage msi{.address = 0xfee0'0000 | 0xff << 12 | 0x02 << 5, .data = 0x33};
  a.bus.set_extended_destinations(true);
  EXPECT_EQ(a.bus.send_msi(msi), IrqStatus::Delivered);
  EXPECT_EQ(a.interrupted(), 0b010u);
  a.bus.set_extended_destinations(false);
  EXPECT_EQ(a.bus.send_msi(msi), IrqStatus::Delivered) << "now the broadcast";
  EXPECT_EQ(a.interrupted(), 0b111u);
}

TEST(Lapic, InitKeepsIdAndBase) {
  ApicMachine a(2);
  a.enable_all();
  a.write(1, 0xd0, 0x0200'0000);
  a.write(1, 0x80, 0x50);
  a.ipi(0, 1, 0x500);
  EXPECT_EQ(a.read(1, 0x20), 0x0100'0000u);
  EXPECT_EQ(a.read(1, 0x80), 0u);
  EXPECT_EQ(a.read(1, 0xd0), 0u);
  EXPECT_EQ(a.read(1, 0xf0), 0xffu);
  EXPECT_TRUE(a.lapics[1].claims({0xfee0'0000}));
}

TEST(Lapic, MessageRangeOfTheBus) {
  ApicMachine a(2);
  a.enable_all();
  a.m.write_mem(0xfee0'1000, 4, 0x45);
  EXPECT_EQ(a.interrupted(), 0b10u);
  a.m.write_mem(0xfee0'0000, 2, 0x45);
  EXPECT_EQ(a.interrupted(), 0b10u) << "messages are dwords";
  EXPECT_EQ(a.m.read_mem(0xfee0'0020, 4), 0xffff'ffffu);
}

TEST(Lapic, SavedInMidPeriodGoesOn) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x3e0, 11);
  a.write(0, 0x320, 0x20040);
  a.write(0, 0x380, 100'000);
  a.write(0, 0x370, 0xef);
  for (const u8 vector : {0x50, 0x61}) a.ipi(0, 0, vector);
  EXPECT_EQ(a.ack(0), 0x61);
  a.m.step_ns(250'000);

  ApicMachine b(1);
  b.m.clock.advance_to(a.m.clock.now_ns());
  EXPECT_EQ(TestMachine::round_trip(a.lapics[0], b.lapics[0]), std::vector<std::string>{});
  for (ApicMachine* x : {&a, &b}) {
    EXPECT_EQ(x->read(0, 0x390), 50'000u);
    x->m.step_ns(50'000);
    EXPECT_EQ(x->read(0, 0x390), 100'000u);
    x->eoi(0);
    EXPECT_TRUE(x->cpus[0].intr);
    EXPECT_EQ(x->ack(0), 0x50);
    x->eoi(0);
    EXPECT_EQ(x->ack(0), 0x40);
  }
}

TEST(Lapic, FiredOneShotStaysFiredAfterALoad) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x320, 0x40);
  a.write(0, 0x380, 1000);
  a.m.step_ns(5000);
  a.ack(0);
  a.eoi(0);
  ApicMachine b(1);
  b.m.clock.advance_to(a.m.clock.now_ns());
  EXPECT_TRUE(TestMachine::round_trip(a.lapics[0], b.lapics[0]).empty());
  b.m.step_ns(1'000'000);
  EXPECT_FALSE(b.cpus[0].intr);
}

TEST(Lapic, RefusesAnotherCpusState) {
  ApicMachine a(2);
  const StateTree tree = save_state(a.lapics[0]);
  ASSERT_TRUE(load_state(a.lapics[1], tree).ok());
  EXPECT_FALSE(a.lapics[1].restored().ok());
}

}  // namespace
}  // namespace menura
