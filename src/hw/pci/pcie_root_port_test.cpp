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

// §6.7: presence and its change, the button, power off and the indicator off: the card goes.
TEST(PcieRootPort, LetsACardComeAndGo) {
  PciTestBus rig;
  std::vector<PciFunction*> gone;
  PcieRootPort port("rp1", {.number = 1, .slot = 1}, [&](PciFunction& f) { gone.push_back(&f); });
  rig.bus.add(port, PciBus::devfn(2, 0)).value();
  port.reset(ResetKind::PowerOn);
  const PciFunction& f = port;
  const unsigned cap = f.config().find_capability(0x10);
  const auto status = [&] { return port.config_read(cap + 0x1a, 2); };
  const auto control = [&](u16 value) { port.config_write(cap + 0x18, 2, value); };
  EXPECT_EQ(port.config_read(cap + 0x14, 4) & 0x43, 0x43u);      // hot-plug capable, power, button
  EXPECT_EQ(port.config_read(cap + 0x18, 2) & 0x0700, 0x0700u);  // no power, no light
  EXPECT_EQ(port.config_read(cap + 0x12, 2) & 0x2000, 0u);       // no link
  control(0x0729);  // interrupts on presence and the button
  PciBus& behind = *port.secondary_bus();
  TestCard card("card");
  behind.add(card, PciBus::devfn(0, 0)).value();
  behind.hotplug()->plugged(card);
  EXPECT_EQ(status(), 0x0148u);  // present, presence changed, link changed
  EXPECT_EQ(port.config_read(cap + 0x12, 2) & 0x2000, 0x2000u);
  EXPECT_TRUE(rig.machine.pin_level(2));
  port.config_write(cap + 0x1a, 2, 0x0108);
  EXPECT_FALSE(rig.machine.pin_level(2));
  control(0x0129);  // power on, light on
  EXPECT_FALSE(behind.hotplug()->request_eject(card));
  EXPECT_EQ(status(), 0x0041u);
  EXPECT_TRUE(rig.machine.pin_level(2));
  port.config_write(cap + 0x1a, 2, 1);
  control(0x0529);
  EXPECT_TRUE(gone.empty());  // the light is on yet
  control(0x0729);
  EXPECT_EQ(gone, std::vector<PciFunction*>{&card});
  EXPECT_EQ(card.bus(), nullptr);
  EXPECT_EQ(status(), 0x0108u);
  // Nobody listens: at once.
  control(0x0100);
  behind.add(card, PciBus::devfn(0, 0)).value();
  behind.hotplug()->plugged(card);
  EXPECT_TRUE(behind.hotplug()->request_eject(card));
  EXPECT_EQ(gone.size(), 2u);
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
