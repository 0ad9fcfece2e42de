#include "hw/intc/info.h"

#include <gtest/gtest.h>

#include "hw/intc/apic_test_machine.h"

namespace menura {
namespace {

TEST(Info, Pic) {
  ApicMachine a(1);
  a.m.out8(0x20, 0x11);
  for (const u8 byte : {0x08, 0x04, 0x03}) a.m.out8(0x21, byte);
  a.m.out8(0x21, 0xb8);
  a.pic.set_irq(4, true);
  EXPECT_EQ(print_pic(a.pic.master(), a.pic.slave()),
            "master: irr=10 imr=b8 isr=00 vectors=08-0f highest=ir0 elcr=00 pins=10 auto-eoi\n"
            "slave: irr=00 imr=00 isr=00 vectors=00-07 highest=ir0 elcr=00 pins=00\n");
}

TEST(Info, Ioapic) {
  ApicMachine a(1);
  a.route(11, 0xa95b, 0x0f);
  const std::string text = print_ioapic(a.ioapic.state());
  EXPECT_NE(text.find("pin  0 0000000000010000 vector=00 fixed to 00 edge masked\n"),
            std::string::npos);
  EXPECT_NE(text.find("pin 11 0f0000000000a95b vector=5b lowest to logical 0f level active-low\n"),
            std::string::npos);
}

TEST(Info, Lapic) {
  ApicMachine a(1);
  a.enable(0);
  a.write(0, 0x3e0, 3);
  a.write(0, 0x320, 0x200ef);
  a.write(0, 0x380, 1000);
  a.ipi(0, 0, 0x41);
  a.ack(0);
  a.ipi(0, 0, 0x33);
  a.m.step_ns(160);
  const std::string text = print_lapic(a.lapics[0].state(), a.m.time.now_ns());
  for (const std::string_view part :
       {"id=0 base=0xfee00000 xapic spurious=ff tpr=00",
        "lvt timer       000200ef vector=ef fixed\n", "lvt lint0       00000700 vector=00 extint\n",
        "timer periodic initial=1000 current=990 divisor=16\n", "isr 41\n", "irr 33\n"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Info, IrqsAreCountedOnTheirWay) {
  ApicMachine a(1);
  GsiRouting gsi({.pic = &a.pic, .ioapic = &a.ioapic, .msi = &a.bus});
  gsi.set_default_pc();
  IrqStatistics irqs(gsi);
  IrqLine line{irqs, 4};
  for (int i = 0; i < 3; i++) line.pulse();
  line.raise();
  EXPECT_EQ(irqs.line(4).raised, 4u);
  EXPECT_EQ(irqs.line(4).coalesced, 3u);
  EXPECT_EQ(irqs.line(99).raised, 0u);
  EXPECT_EQ(print_irqs(irqs, gsi),
            "   4:          4 raised        3 coalesced high  pic 4  ioapic 4\n");
}

}  // namespace
}  // namespace menura
