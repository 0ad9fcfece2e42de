// Expectations are from the 82093AA data sheet (290566) §3.
#include "hw/intc/ioapic.h"

#include <gtest/gtest.h>

#include "hw/intc/apic_test_machine.h"
#include "hw/intc/gsi_routing.h"

namespace menura {
namespace {

constexpr u32 kLevel = 0x8000;
constexpr u32 kRemoteIrr = 0x4000;

TEST(Ioapic, Registers) {
  for (const u8 version : {0x11, 0x20}) {
    ApicMachine a(1, 0, version);
    EXPECT_EQ(a.ioapic_read(0), 0u);
    EXPECT_EQ(a.ioapic_read(1), 0x0017'0000u | version);
    a.ioapic_write(0, 0xffff'ffff);
    EXPECT_EQ(a.ioapic_read(0), 0x0f00'0000u);
    EXPECT_EQ(a.ioapic_read(2), 0x0f00'0000u) << "arbitration ID follows the ID";
    a.ioapic_write(1, 0);
    EXPECT_EQ(a.ioapic_read(1), 0x0017'0000u | version);
    for (unsigned pin = 0; pin < 24; pin++) {
      const u8 reg = static_cast<u8>(0x10 + 2 * pin);
      EXPECT_EQ(a.ioapic_read(reg), 0x10000u);
      EXPECT_EQ(a.ioapic_read(reg + 1), 0u);
      a.ioapic_write(reg, 0xffff'ffff);
      a.ioapic_write(reg + 1, 0xffff'ffff);
      EXPECT_EQ(a.ioapic_read(reg), 0x1afffu) << "status and remote IRR are read-only";
      EXPECT_EQ(a.ioapic_read(reg + 1), 0xff00'0000u);
    }
    EXPECT_EQ(a.ioapic_read(0x40), 0u);
    EXPECT_EQ(a.ioapic_read(0xff), 0u);
  }
}

TEST(Ioapic, OddAccesses) {
  ApicMachine a(1);
  a.m.write_mem(0xfec0'0000, 1, 1);
  EXPECT_EQ(a.m.read_mem(0xfec0'0000, 4), 1u);
  EXPECT_EQ(a.m.read_mem(0xfec0'0010, 1), 0x20u);
  EXPECT_EQ(a.m.read_mem(0xfec0'0010, 2), 0x0020u);
  EXPECT_EQ(a.m.read_mem(0xfec0'0010, 8), 0x0017'0020u);
  EXPECT_EQ(a.m.read_mem(0xfec0'0004, 4), 0u);
}

TEST(Ioapic, EdgeIsSentOnceAndLostWhileMasked) {
  ApicMachine a(2);
  a.enable_all();
  EXPECT_EQ(a.ioapic.set_irq(4, true), IrqStatus::Ignored);
  a.ioapic.set_irq(4, false);
  a.route(4, 0x44, 1);
  EXPECT_EQ(a.interrupted(), 0u);
  EXPECT_EQ(a.ioapic.set_irq(4, true), IrqStatus::Delivered);
  EXPECT_EQ(a.interrupted(), 0b10u);
  EXPECT_EQ(a.ack(1), 0x44);
  EXPECT_EQ(a.ioapic.set_irq(4, true), IrqStatus::Ignored) << "no edge";
  a.ioapic.set_irq(4, false);
  EXPECT_EQ(a.ioapic.set_irq(4, true), IrqStatus::Delivered);
  a.ioapic.set_irq(4, false);
  EXPECT_EQ(a.ioapic.set_irq(4, true), IrqStatus::Coalesced);
  EXPECT_EQ(a.ioapic.set_irq(24, true), IrqStatus::Ignored);
}

TEST(Ioapic, LevelWaitsForItsEoi) {
  ApicMachine a(1);
  a.enable(0);
  a.route(11, kLevel | 0x5b, 0);
  EXPECT_EQ(a.ioapic.set_irq(11, true), IrqStatus::Delivered);
  EXPECT_EQ(a.ioapic_read(0x26), kRemoteIrr | kLevel | 0x5b);
  EXPECT_EQ(a.ioapic.set_irq(11, true), IrqStatus::Coalesced);
  EXPECT_EQ(a.ack(0), 0x5b);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), 0x5b) << "asserted still";
  a.ioapic.set_irq(11, false);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), -1);
  EXPECT_EQ(a.ioapic_read(0x26), kLevel | 0x5b);
}

TEST(Ioapic, LevelIsSentWhenUnmasked) {
  ApicMachine a(1);
  a.enable(0);
  a.route(9, 0x10000 | kLevel | 0x60, 0);
  EXPECT_EQ(a.ioapic.set_irq(9, true), IrqStatus::Ignored);
  a.ioapic_write(0x22, kLevel | 0x60);
  EXPECT_EQ(a.ack(0), 0x60);
  // A level that nobody accepts leaves no remote IRR behind.
  ApicMachine b(1);
  b.route(9, kLevel | 0x60, 7);
  EXPECT_EQ(b.ioapic.set_irq(9, true), IrqStatus::Ignored);
  EXPECT_EQ(b.ioapic_read(0x22), kLevel | 0x60);
}

TEST(Ioapic, SuppressedBroadcastNeedsTheEoiRegister) {
  ApicMachine a(1);
  a.write(0, 0xf0, 0x11ff);  // SVR bit 12
  a.route(11, kLevel | 0x5b, 0);
  a.ioapic.set_irq(11, true);
  a.ack(0);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), -1);
  a.m.write_mem(0xfec0'0040, 4, 0x5a);
  EXPECT_EQ(a.ack(0), -1);
  a.m.write_mem(0xfec0'0040, 4, 0x5b);
  EXPECT_EQ(a.ack(0), 0x5b);

  ApicMachine old(1, 0, 0x11);
  old.write(0, 0xf0, 0x11ff);
  old.route(11, kLevel | 0x5b, 0);
  old.ioapic.set_irq(11, true);
  old.ack(0);
  old.eoi(0);
  old.m.write_mem(0xfec0'0040, 4, 0x5b);
  EXPECT_EQ(old.ack(0), -1) << "version 11h has no such register";
  old.ioapic_write(0x26, 0x1005b);  // through edge mode
  old.ioapic_write(0x26, kLevel | 0x5b);
  EXPECT_EQ(old.ack(0), 0x5b);
}

TEST(Ioapic, DeliveryModes) {
  ApicMachine a(2);
  a.enable_all();
  a.route(1, 0x400, 1);
  a.route(3, 0x200, 1);
  a.route(5, 0x500, 1);
  a.route(0, 0x700, 0);
  for (const unsigned pin : {1, 3, 5}) a.ioapic.set_irq(pin, true);
  EXPECT_EQ(a.cpus[1].nmis, 1u);
  EXPECT_EQ(a.cpus[1].smis, 1u);
  EXPECT_EQ(a.cpus[1].inits, 1u);
  a.m.out8(0x20, 0x11);
  for (const u8 byte : {0x08, 0x04, 0x01}) a.m.out8(0x21, byte);
  a.write(0, 0x350, 0x10700);  // LINT0 masked: the IOAPIC brings the PIC's interrupt
  a.pic.set_irq(3, true);
  EXPECT_EQ(a.interrupted(), 0u);
  a.ioapic.set_irq(0, true);
  EXPECT_EQ(a.ack(0), 0x0b);
  EXPECT_FALSE(a.cpus[0].intr);
}

TEST(Ioapic, LogicalAndLowestPriority) {
  ApicMachine a(4);
  a.enable_all();
  for (unsigned i = 0; i < 4; i++) a.write(i, 0xd0, 1u << (24 + i));
  a.route(7, 0x840, 0b0110);
  a.ioapic.set_irq(7, true);
  EXPECT_EQ(a.interrupted(), 0b0110u);
  a.write(2, 0x80, 0x20), a.write(3, 0x80, 0x10);
  a.route(8, 0x950, 0b1100);
  a.ioapic.set_irq(8, true);
  EXPECT_EQ(a.interrupted(), 0b1110u);
  EXPECT_EQ(a.ack(3), 0x50);
}

TEST(Ioapic, MessagesForAMirror) {
  EXPECT_EQ(Ioapic::message_of(u64{5} << 56 | 0x0933),
            (MsiMessage{.address = 0xfee0'500c, .data = 0x4133}));
  EXPECT_EQ(Ioapic::message_of(0x8033), (MsiMessage{.address = 0xfee0'0000, .data = 0xc033}));
  ApicMachine a(1);
  std::vector<unsigned> changed;
  a.ioapic.on_entry_changed([&](unsigned pin) { changed.push_back(pin); });
  a.route(6, 0x33, 0);
  EXPECT_EQ(changed, (std::vector<unsigned>{6, 6}));
}

TEST(Ioapic, SavedInServiceGoesOn) {
  ApicMachine a(1), b(1);
  for (ApicMachine* x : {&a, &b}) x->enable(0);
  a.route(11, kLevel | 0x5b, 0);
  a.route(4, 0x44, 0);
  a.ioapic.set_irq(11, true);
  a.m.write_mem(0xfec0'0000, 4, 0x26);
  EXPECT_EQ(TestMachine::round_trip(a.ioapic, b.ioapic), std::vector<std::string>{});
  EXPECT_EQ(TestMachine::round_trip(a.lapics[0], b.lapics[0]), std::vector<std::string>{});
  EXPECT_EQ(b.m.read_mem(0xfec0'0010, 4), kRemoteIrr | kLevel | 0x5b);
  EXPECT_EQ(b.ack(0), 0x5b);
  b.eoi(0);
  EXPECT_EQ(b.ack(0), 0x5b);
}

struct GsiTest : testing::Test {
  GsiTest() {
    a.enable(0);
    gsi.set_default_pc();
    a.m.out8(0x20, 0x11);
    for (const u8 byte : {0x08, 0x04, 0x01}) a.m.out8(0x21, byte);
  }
  ApicMachine a{1};
  GsiRouting gsi{{.pic = &a.pic, .ioapic = &a.ioapic, .msi = &a.bus}};
};

TEST_F(GsiTest, DefaultTableOfAPc) {
  unsigned pic = 0, ioapic = 0;
  for (const GsiRoute& route : gsi.entries()) {
    if (const PicPin* pin = std::get_if<PicPin>(&route.target)) {
      EXPECT_EQ(pin->pin, route.gsi);
      pic++;
    }
    if (const IoapicPin* pin = std::get_if<IoapicPin>(&route.target)) {
      EXPECT_EQ(pin->pin, route.gsi == 0 ? 2 : route.gsi);
      ioapic++;
    }
  }
  EXPECT_EQ(pic, 15u);
  EXPECT_EQ(ioapic, 24u);
}

TEST_F(GsiTest, TheBestFateOfTheTargetsIsReported) {
  EXPECT_EQ(gsi.set_irq(4, true), IrqStatus::Delivered) << "by the PIC; the IOAPIC is masked";
  EXPECT_EQ(a.pic.master().irr, 0x10);
  gsi.set_irq(4, false);
  EXPECT_EQ(gsi.set_irq(4, true), IrqStatus::Coalesced);
  gsi.set_irq(4, false);
  a.m.out8(0x21, 0xff);
  EXPECT_EQ(gsi.set_irq(4, true), IrqStatus::Ignored);
  a.route(2, 0x30, 0);
  EXPECT_EQ(gsi.set_irq(0, true), IrqStatus::Delivered) << "IRQ0 is pin 2";
  EXPECT_EQ(gsi.set_irq(5000, true), IrqStatus::Ignored);
}

TEST_F(GsiTest, MessageRoutes) {
  unsigned mirrored = 0;
  gsi.on_change([&](const GsiRouting&) { mirrored++; });
  gsi.commit();
  const Result<u32> route = gsi.add_msi({.address = 0xfee0'0000, .data = 0x70});
  ASSERT_TRUE(route.ok());
  EXPECT_EQ(*route, 24u);
  gsi.commit();
  gsi.commit();
  EXPECT_EQ(mirrored, 2u) << "once a commit that has something";
  EXPECT_EQ(gsi.set_irq(24, true), IrqStatus::Delivered);
  EXPECT_EQ(gsi.set_irq(24, false), IrqStatus::Ignored);
  EXPECT_EQ(a.ack(0), 0x70);
  gsi.update_msi(24, {.address = 0xfee0'0000, .data = 0x71});
  gsi.set_irq(24, true);
  a.eoi(0);
  EXPECT_EQ(a.ack(0), 0x71);
  gsi.remove(24);
  EXPECT_EQ(gsi.set_irq(24, true), IrqStatus::Ignored);
  EXPECT_EQ(*gsi.add_msi({}), 24u) << "freed numbers are used again";
}

TEST_F(GsiTest, TheTableEnds) {
  const size_t before = gsi.entries().size();
  for (size_t i = before; i < GsiRouting::kMaxRoutes; i++) ASSERT_TRUE(gsi.add_msi({}).ok()) << i;
  EXPECT_FALSE(gsi.add_msi({}).ok());
  EXPECT_FALSE(gsi.add(0, PicPin{1}).ok());
  EXPECT_EQ(gsi.entries().size(), GsiRouting::kMaxRoutes);
}

TEST_F(GsiTest, SyntheticInterruptsAreOnlyForTheMirror) {
  ASSERT_TRUE(gsi.add(100, HypervSint{.vcpu = 0, .sint = 2}).ok());
  EXPECT_EQ(gsi.entries().back(), (GsiRoute{100, HypervSint{0, 2}}));
  EXPECT_EQ(gsi.set_irq(100, true), IrqStatus::Ignored);
}

}  // namespace
}  // namespace menura
