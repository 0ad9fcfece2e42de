// Expectations are from the 8259A data sheet (231468), named by its headings.
#include "hw/intc/pic.h"

#include <gtest/gtest.h>

#include <vector>

#include "hw/core/test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr u16 kMaster = 0x20;
constexpr u16 kSlave = 0xa0;
constexpr u8 kEoi = 0x20;

struct PicTest : testing::Test {
  PicTest() {
    m.io_root.map(kMaster, pic.master_ports());
    m.io_root.map(kSlave, pic.slave_ports());
    m.io_root.map(0x4d0, pic.elcr_ports());
    pic.reset(ResetKind::PowerOn);
    initialise(0x01);
  }
  // As every PC does: vectors 20h and 28h, cascade on IR2, nothing masked.
  void initialise(u8 icw4, u8 slave_icw4 = 0x01) {
    for (const u16 port : {kMaster, kSlave}) {
      m.out8(port, 0x11);
      m.out8(port + 1, port == kMaster ? 0x20 : 0x28);
      m.out8(port + 1, port == kMaster ? 0x04 : 0x02);
      m.out8(port + 1, port == kMaster ? icw4 : slave_icw4);
    }
  }
  IrqStatus pulse(unsigned pin) {
    const IrqStatus status = pic.set_irq(pin, true);
    pic.set_irq(pin, false);
    return status;
  }
  bool intr() { return m.pin_level(0); }
  u8 read_irr(u16 port) {
    m.out8(port, 0x0a);
    return m.in8(port);
  }
  u8 read_isr(u16 port) {
    m.out8(port, 0x0b);
    return m.in8(port);
  }

  TestMachine m;
  Pic pic{"pic", m.pin(0)};
};

TEST_F(PicTest, InitializationSequence) {
  m.out8(kMaster + 1, 0x55);
  EXPECT_EQ(m.in8(kMaster + 1), 0x55);
  m.out8(kMaster, 0x11);
  EXPECT_EQ(m.in8(kMaster + 1), 0x00) << "ICW1 clears the mask";
  // ICW2 and ICW3 are not masks.
  m.out8(kMaster + 1, 0xff);
  m.out8(kMaster + 1, 0x04);
  m.out8(kMaster + 1, 0x01);
  EXPECT_EQ(m.in8(kMaster + 1), 0x00);
  m.out8(kMaster + 1, 0xaa);
  EXPECT_EQ(m.in8(kMaster + 1), 0xaa);
  pulse(1);
  EXPECT_EQ(pic.acknowledge(), 0xff) << "masked: spurious, and ICW2 keeps its top five bits";
}

TEST_F(PicTest, SingleModeHasNoIcw3AndIc4ClearHasNoIcw4) {
  m.out8(kMaster, 0x12);
  m.out8(kMaster + 1, 0x40);
  m.out8(kMaster + 1, 0x0f);
  EXPECT_EQ(m.in8(kMaster + 1), 0x0f) << "the third byte is already OCW1";
}

TEST_F(PicTest, Icw1NeedsEdgesAnew) {
  pic.set_irq(3, true);
  ASSERT_TRUE(intr());
  initialise(0x01);
  EXPECT_FALSE(intr()) << "the edge sense circuit is reset";
  pic.set_irq(3, false);
  EXPECT_FALSE(intr());
  pic.set_irq(3, true);
  EXPECT_TRUE(intr());
}

// "Fully nested mode": IR0 highest, IR7 lowest, and the slave in the place of IR2.
TEST_F(PicTest, FullyNestedPriorities) {
  const std::vector<unsigned> order = {0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7};
  for (const unsigned pin : order) EXPECT_EQ(pulse(pin), IrqStatus::Delivered);
  for (const unsigned pin : order) {
    ASSERT_TRUE(intr()) << pin;
    EXPECT_EQ(pic.acknowledge(), 0x20 + static_cast<int>(pin));
    EXPECT_FALSE(intr()) << "all others are lower";
    if (pin >= 8) m.out8(kSlave, kEoi);
    m.out8(kMaster, kEoi);
  }
  EXPECT_FALSE(intr());
}

TEST_F(PicTest, HigherLevelInterruptsALowerOneInService) {
  pulse(5);
  EXPECT_EQ(pic.acknowledge(), 0x25);
  EXPECT_EQ(read_isr(kMaster), 0x20);
  pulse(6);
  EXPECT_FALSE(intr());
  EXPECT_EQ(read_irr(kMaster), 0x40);
  pulse(1);
  ASSERT_TRUE(intr());
  EXPECT_EQ(pic.acknowledge(), 0x21);
  EXPECT_EQ(read_isr(kMaster), 0x22);
  m.out8(kMaster, kEoi);
  EXPECT_EQ(read_isr(kMaster), 0x20) << "non-specific EOI ends the highest";
  m.out8(kMaster, kEoi);
  EXPECT_EQ(pic.acknowledge(), 0x26);
}

TEST_F(PicTest, MaskHoldsTheRequest) {
  m.out8(kMaster + 1, 0x10);
  EXPECT_EQ(pulse(4), IrqStatus::Ignored);
  EXPECT_FALSE(intr());
  EXPECT_EQ(read_irr(kMaster), 0x10);
  m.out8(kMaster + 1, 0x00);
  EXPECT_TRUE(intr());
}

TEST_F(PicTest, SecondEdgeBeforeInterruptAcknowledgeCoalesces) {
  EXPECT_EQ(pulse(0), IrqStatus::Delivered);
  EXPECT_EQ(pulse(0), IrqStatus::Coalesced);
  pic.acknowledge();
  EXPECT_EQ(pulse(0), IrqStatus::Delivered) << "one is in service, the next may wait";
  m.out8(kMaster, kEoi);
  EXPECT_EQ(pic.acknowledge(), 0x20);
}

// "Automatic rotation": the one just served becomes the lowest.
TEST_F(PicTest, RotateOnNonSpecificEoi) {
  pulse(4);
  pic.acknowledge();
  m.out8(kMaster, 0xa0);
  for (unsigned pin : {0u, 4u, 5u, 7u}) pulse(pin);
  for (const int vector : {0x25, 0x27, 0x20, 0x24}) {
    EXPECT_EQ(pic.acknowledge(), vector);
    m.out8(kMaster, kEoi);
  }
}

TEST_F(PicTest, SetPriorityAndRotateOnSpecificEoi) {
  m.out8(kMaster, 0xc0 | 5);  // IR5 lowest: IR6 highest
  for (unsigned pin : {5u, 6u, 0u}) pulse(pin);
  EXPECT_EQ(pic.acknowledge(), 0x26);
  m.out8(kMaster, 0xe0 | 6);  // ends IR6 and makes it the lowest
  EXPECT_EQ(read_isr(kMaster), 0x00);
  EXPECT_EQ(pic.acknowledge(), 0x20);
  m.out8(kMaster, 0x60 | 0);  // specific EOI
  EXPECT_EQ(pic.acknowledge(), 0x25);
}

TEST_F(PicTest, AutomaticEoiLeavesNothingInService) {
  initialise(0x03);
  pulse(7);
  EXPECT_EQ(pic.acknowledge(), 0x27);
  EXPECT_EQ(read_isr(kMaster), 0x00);
  m.out8(kMaster, 0x80);  // rotate in automatic EOI mode
  pulse(2 + 1);
  EXPECT_EQ(pic.acknowledge(), 0x23);
  pulse(3);
  pulse(6);
  EXPECT_EQ(pic.acknowledge(), 0x26) << "IR3 was served last";
  EXPECT_EQ(pic.acknowledge(), 0x27 - 4);
  m.out8(kMaster, 0x00);
}

// "Special mask mode": a masked level in service lets lower ones through.
TEST_F(PicTest, SpecialMaskMode) {
  pulse(3);
  EXPECT_EQ(pic.acknowledge(), 0x23);
  m.out8(kMaster + 1, 0x08);
  pulse(6);
  EXPECT_FALSE(intr());
  m.out8(kMaster, 0x68);
  ASSERT_TRUE(intr());
  EXPECT_EQ(pic.acknowledge(), 0x26);
  m.out8(kMaster, kEoi);
  EXPECT_EQ(read_isr(kMaster), 0x08) << "a non-specific EOI leaves the masked level";
  m.out8(kMaster, kEoi);
  EXPECT_EQ(read_isr(kMaster), 0x08);
  m.out8(kMaster, 0x63);
  EXPECT_EQ(read_isr(kMaster), 0x00);
  m.out8(kMaster, 0x48);  // normal mask mode again
}

TEST_F(PicTest, SpecialFullyNestedModeLetsHigherSlaveLevelsThrough) {
  pulse(12);
  EXPECT_EQ(pic.acknowledge(), 0x2c);
  pulse(9);
  EXPECT_FALSE(intr()) << "the master has IR2 in service";
  m.out8(kMaster, kEoi);
  ASSERT_TRUE(intr());
  EXPECT_EQ(pic.acknowledge(), 0x29);

  initialise(0x11);
  pulse(12);
  EXPECT_EQ(pic.acknowledge(), 0x2c);
  pulse(9);
  ASSERT_TRUE(intr());
  EXPECT_EQ(pic.acknowledge(), 0x29);
}

// "Poll command": bit 7 and the level; the read is the acknowledge.
TEST_F(PicTest, Poll) {
  m.out8(kMaster, 0x0c);
  EXPECT_EQ(m.in8(kMaster) & 0x80, 0x00);
  pulse(6);
  m.out8(kMaster, 0x0c);
  EXPECT_EQ(m.in8(kMaster), 0x86);
  EXPECT_FALSE(intr());
  EXPECT_EQ(read_isr(kMaster), 0x40);
  m.out8(kMaster, kEoi);
  pulse(11);
  m.out8(kMaster, 0x0c);
  EXPECT_EQ(m.in8(kMaster), 0x82);
  m.out8(kSlave, 0x0c);
  EXPECT_EQ(m.in8(kSlave), 0x83);
  m.out8(kSlave, kEoi);
  m.out8(kMaster, kEoi);
  EXPECT_FALSE(intr()) << "nothing remains of the slave's request";
}

TEST_F(PicTest, LevelTriggeredPinsFollowTheirLevel) {
  m.out8(0x4d0, 0xff);
  m.out8(0x4d1, 0xff);
  EXPECT_EQ(m.in8(0x4d0), 0xf8) << "IRQ0-2 are always edges";
  EXPECT_EQ(m.in8(0x4d1), 0xde) << "so are IRQ8 and IRQ13";
  EXPECT_EQ(pic.set_irq(11, true), IrqStatus::Delivered);
  EXPECT_EQ(pic.acknowledge(), 0x2b);
  m.out8(kSlave, kEoi);
  m.out8(kMaster, kEoi);
  ASSERT_TRUE(intr()) << "still asserted";
  pic.set_irq(11, false);
  // The master has latched the slave's request: IR7 of the slave answers.
  EXPECT_EQ(pic.acknowledge(), 0x2f);
  EXPECT_EQ(read_isr(kSlave), 0x00) << "a default IR7 is not in service";
  EXPECT_EQ(read_isr(kMaster), 0x04);
}

TEST_F(PicTest, SpuriousInterruptOfTheMaster) {
  m.out8(0x4d0, 0x20);
  pic.set_irq(5, true);
  pic.set_irq(5, false);
  EXPECT_FALSE(intr());
  EXPECT_EQ(pic.acknowledge(), 0x27);
  EXPECT_EQ(read_isr(kMaster), 0x00);
}

TEST_F(PicTest, CascadePinAndNonsensePinsAreNoInputs) {
  EXPECT_EQ(pic.set_irq(2, true), IrqStatus::Ignored);
  EXPECT_EQ(pic.set_irq(16, true), IrqStatus::Ignored);
  EXPECT_FALSE(intr());
}

TEST_F(PicTest, WideAccessesReachBothPorts) {
  m.out16(kMaster, 0x5a0b);  // OCW3 (read ISR) and the mask
  EXPECT_EQ(m.in16(kMaster), 0x5a00);
}

TEST_F(PicTest, SavedInMidWorkGoesOn) {
  pulse(12);
  pulse(1);
  EXPECT_EQ(pic.acknowledge(), 0x21);
  m.out8(kMaster, 0x11);  // in the middle of an initialisation
  m.out8(kMaster + 1, 0x40);
  m.out8(kSlave, 0x0c);  // a poll to come

  TestMachine other;
  Pic twin{"pic", other.pin(0)};
  EXPECT_EQ(TestMachine::round_trip(pic, twin), std::vector<std::string>{});
  for (Pic* p : {&pic, &twin}) {
    p->master_ports().handler()->write({1, 1}, 0x04);
    p->master_ports().handler()->write({1, 1}, 0x01);
    EXPECT_EQ(p->slave_ports().handler()->read({0, 1}), 0x84u);
    p->set_irq(6, true);
    EXPECT_EQ(p->acknowledge(), 0x46);
  }
}

TEST_F(PicTest, LoadDrivesNoEdge) {
  pulse(4);
  ASSERT_TRUE(intr());
  TestMachine other;
  Pic twin{"pic", other.pin(0)};
  EXPECT_TRUE(TestMachine::round_trip(pic, twin).empty());
  EXPECT_EQ(other.pin_rises(0), 0u);
  EXPECT_TRUE(twin.pending());
}

TEST_F(PicTest, RefusesAnImpossibleState) {
  StateTree tree = save_state(pic);
  const_cast<StateTree*>(tree.find("master")->find("highest"))->integer = 9;
  EXPECT_TRUE(load_state(pic, tree).ok());
  EXPECT_FALSE(pic.restored().ok());
}

}  // namespace
}  // namespace menura
