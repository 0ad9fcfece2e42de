#include "hw/pci/pci_bus.h"

#include <gtest/gtest.h>

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

TEST(PciBus, NobodyReadsAllOnes) {
  PciTestBus rig;
  EXPECT_EQ(rig.bus.config_read({0, PciBus::devfn(9, 0)}, 0, 4), 0xffff'ffffu);
  EXPECT_EQ(rig.bus.config_read({0, PciBus::devfn(9, 0)}, 3, 1), 0xffu);
  EXPECT_EQ(rig.bus.config_read({7, 0}, 2, 2), 0xffffu);
  rig.bus.config_write({7, 0}, 2, 2, 0);
}

TEST(PciBus, AddRefusesATakenPlace) {
  PciTestBus rig;
  TestCard first("first"), second("second");
  ASSERT_TRUE(rig.bus.add(first, PciBus::devfn(3, 0)));
  const Result<void> added = rig.bus.add(second, PciBus::devfn(3, 0));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, Errc::Exists);
  EXPECT_EQ(added.error().text, "Plugging second into pci.0 at 03.0: first is there");
}

TEST(PciBus, MultifunctionBitFollowsTheOtherFunctions) {
  PciTestBus rig;
  TestCard first("first"), second("second"), alone("alone");
  rig.bus.add(second, PciBus::devfn(3, 5)).value();  // in either order
  rig.bus.add(first, PciBus::devfn(3, 0)).value();
  rig.bus.add(alone, PciBus::devfn(4, 0)).value();
  const auto type = [&](unsigned slot, unsigned function) {
    return rig.bus.config_read({0, PciBus::devfn(slot, function)}, pci::kHeaderType, 1);
  };
  EXPECT_EQ(type(3, 0), 0x80u);
  EXPECT_EQ(type(3, 5), 0x00u);
  EXPECT_EQ(type(4, 0), 0x00u);
  rig.bus.remove(second);
  EXPECT_EQ(type(3, 0), 0x00u);
  EXPECT_EQ(second.bus(), nullptr);
}

TEST(PciBus, FreeSlots) {
  PciTestBus rig;
  std::vector<std::unique_ptr<TestCard>> cards;
  for (unsigned slot = 0; slot < PciBus::kSlots; slot++) {
    EXPECT_EQ(rig.bus.free_slot(0).value(), slot);
    cards.push_back(std::make_unique<TestCard>("card" + std::to_string(slot)));
    rig.bus.add(*cards.back(), PciBus::devfn(slot, slot % 8)).value();
  }
  EXPECT_EQ(rig.bus.free_slot().error().code, Errc::NoSpace);
  rig.bus.remove(*cards[17]);
  EXPECT_EQ(rig.bus.free_slot().value(), 17u);
}

// A tree: root - bridge a (slot 2) - bridge b (slot 1) - card (slot 4).
struct Tree : PciTestBus {
  Tree() {
    bus.add(a, PciBus::devfn(2, 0)).value();
    a.secondary_bus()->add(b, PciBus::devfn(1, 0)).value();
    b.secondary_bus()->add(card, PciBus::devfn(4, 0)).value();
  }
  void number(PciBridge& bridge, u8 primary, u8 secondary, u8 subordinate) {
    bridge.config_write(pci::kPrimaryBus, 4,
                        primary | u32{secondary} << 8 | u32{subordinate} << 16);
  }
  PciBridge a{"a", "pci.1"};
  PciBridge b{"b", "pci.2"};
  TestCard card{"card", IntxPin::B};
};

TEST(PciBus, CyclesFollowTheBusNumbers) {
  Tree tree;
  const u8 slot4 = PciBus::devfn(4, 0);
  EXPECT_EQ(tree.bus.find({2, slot4}), nullptr);
  tree.number(tree.a, 0, 1, 2);
  tree.number(tree.b, 1, 2, 2);
  EXPECT_EQ(tree.bus.find({1, PciBus::devfn(1, 0)}), &tree.b);
  EXPECT_EQ(tree.bus.find({2, slot4}), &tree.card);
  EXPECT_EQ(tree.bus.config_read({2, slot4}, 0, 4), 0x7e57'1b36u);
  EXPECT_EQ(tree.bus.find({0, slot4}), nullptr);
  EXPECT_EQ(tree.bus.find({3, slot4}), nullptr);
  tree.number(tree.a, 0, 1, 1);  // b's bus is no longer below a
  EXPECT_EQ(tree.bus.find({2, slot4}), nullptr);
  tree.number(tree.a, 0, 5, 9);
  tree.number(tree.b, 5, 7, 9);
  EXPECT_EQ(tree.bus.find({7, slot4}), &tree.card);
}

TEST(PciBus, InterruptsSwizzleThroughBridges) {
  Tree tree;
  // Bridge architecture 1.2 table 9-1, twice, then the root's (slot + pin) mod 4:
  // INTB# of slot 4 is INTB# of b; b is slot 1, so INTC# of a; a is slot 2: pin (2 + 2) mod 4.
  EXPECT_EQ(tree.card.bus()->root_pin(4, 1), 0u);
  tree.card.set_intx(true);
  EXPECT_TRUE(tree.machine.pin_level(0));
  tree.bus.remove(tree.a);  // takes all that hangs behind it
  EXPECT_FALSE(tree.machine.pin_level(0));
  EXPECT_EQ(tree.card.bus(), nullptr);
}

TEST(PciBus, MasteringNeedsEveryBridge) {
  Tree tree;
  tree.card.config_write(pci::kCommand, 2, pci::kCommandBusMaster);
  tree.a.config_write(pci::kCommand, 2, pci::kCommandBusMaster);
  EXPECT_FALSE(tree.card.bus_master());
  tree.b.config_write(pci::kCommand, 2, pci::kCommandBusMaster);
  EXPECT_TRUE(tree.card.bus_master());
}

TEST(PciBus, SecondaryResetReachesAllBelow) {
  Tree tree;
  tree.number(tree.a, 0, 1, 2);
  tree.number(tree.b, 1, 2, 2);
  const u8 slot4 = PciBus::devfn(4, 0);
  tree.card.config_write(pci::kCommand, 2, pci::kCommandMemory);
  const unsigned before = tree.card.resets;
  tree.a.config_write(pci::kBridgeControl, 2, pci::kBridgeControlReset);
  EXPECT_EQ(tree.card.resets, before + 1);
  EXPECT_EQ(tree.card.config_read(pci::kCommand, 2), 0u);
  EXPECT_EQ(tree.b.config_read(pci::kSecondaryBus, 1), 0u);
  EXPECT_EQ(tree.bus.find({1, PciBus::devfn(1, 0)}), nullptr);  // held
  tree.a.config_write(pci::kBridgeControl, 2, pci::kBridgeControlReset);
  EXPECT_EQ(tree.card.resets, before + 1);  // no new edge
  tree.a.config_write(pci::kBridgeControl, 2, 0);
  EXPECT_EQ(tree.bus.find({1, PciBus::devfn(1, 0)}), &tree.b);
  tree.number(tree.b, 1, 2, 2);
  EXPECT_EQ(tree.bus.find({2, slot4}), &tree.card);
}

}  // namespace
}  // namespace menura
