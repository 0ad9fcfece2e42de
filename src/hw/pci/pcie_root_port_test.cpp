// Expectations are from PCI Express Base 3.0 §7.8.
#include "hw/pci/pcie_root_port.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::IsEmpty;

struct PortRig final : PciConformanceRig {
  PortRig() { plug(port, PciBus::devfn(2, 0)); }
  PcieRootPort port{"rp1", {.number = 3, .slot = 5}};
};

TEST(PcieRootPort, Conforms) {
  PciTestBus rig;
  PcieRootPort port("rp1", {.number = 3, .slot = 5});
  rig.bus.add(port, PciBus::devfn(2, 0)).value();
  EXPECT_THAT(check_pci_function(port), IsEmpty());
  rig.bus.remove(port);
  EXPECT_THAT(conformance_problems<PortRig>(), IsEmpty());
  survive_hostile_states<PortRig>();
}

TEST(PcieRootPort, TellsOfItsLinkAndSlot) {
  PciTestBus rig;
  PcieRootPort port("rp1", {.number = 3, .slot = 5});
  rig.bus.add(port, PciBus::devfn(2, 0)).value();
  port.reset(ResetKind::PowerOn);
  const PciFunction& f = port;
  const unsigned cap = f.config().find_capability(0x10);
  ASSERT_NE(cap, 0u);
  EXPECT_EQ(f.config().get16(cap + 2), 0x0142);            // version 2, root port, slot
  EXPECT_EQ(f.config().get32(cap + 0x0c) >> 24, 3u);       // port number
  EXPECT_EQ(f.config().get16(cap + 0x12) & 0x3ff, 0x011);  // 2.5 GT/s, one lane
  EXPECT_EQ(f.config().get32(cap + 0x14) >> 19, 5u);       // physical slot
  EXPECT_EQ(f.config().get16(cap + 0x1a) & 0x40, 0);       // empty
  rig.bus.remove(port);
}

TEST(PcieRootPort, HasOneDeviceBehindIt) {
  PciTestBus rig;
  PcieRootPort port("rp1", {.number = 1, .slot = 1});
  rig.bus.add(port, PciBus::devfn(2, 0)).value();
  PciBus& behind = *port.secondary_bus();
  EXPECT_EQ(behind.free_slot().value(), 0u);
  TestCard card("card"), other("other");
  EXPECT_FALSE(behind.add(other, PciBus::devfn(1, 0)));
  behind.add(card, PciBus::devfn(0, 0)).value();
  EXPECT_FALSE(behind.free_slot());
  port.reset(ResetKind::PowerOn);
  const PciFunction& f = port;
  EXPECT_NE(f.config().get16(f.config().find_capability(0x10) + 0x1a) & 0x40, 0);
  rig.bus.remove(port);
}

TEST(PciBus, ShowsThatMoreFunctionsMayCome) {
  PciTestBus rig;
  TestCard card("card");
  card.announce_functions();
  rig.bus.add(card, PciBus::devfn(3, 0)).value();
  EXPECT_EQ(card.config_read(0x0e, 1), 0x80u);
  rig.bus.remove(card);
}

}  // namespace
}  // namespace menura
