#include "hw/acpi/pci_hotplug.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Rig final : ConformanceRig {
  Rig() { machine.io_root.map(0xae00, hotplug.ports()); }
  Device& device() override { return hotplug; }
  PciBus bus{"pci.0",
             {.memory = machine.memory,
              .io = machine.io,
              .memory_window = machine.memory_root,
              .io_window = machine.io_root,
              .intx = &machine,
              .msi = &machine}};
  unsigned events = 0;
  std::vector<PciFunction*> gone;
  AcpiPciHotplug hotplug{"hotplug", bus, [this] { events++; },
                         [this](PciFunction& f) { gone.push_back(&f); },
                         [](PciFunction& f) { return f.slot() != 1; }};
};

TEST(AcpiPciHotplug, Conforms) {
  EXPECT_THAT(conformance_problems<Rig>(), IsEmpty());
  survive_hostile_states<Rig>();
}

TEST(AcpiPciHotplug, TellsOfCardsAndEjectsThem) {
  Rig rig;
  TestMachine& m = rig.machine;
  TestCard fixed("fixed"), card("card");
  rig.bus.add(fixed, PciBus::devfn(1, 0)).value();
  rig.bus.add(card, PciBus::devfn(5, 0)).value();
  rig.bus.hotplug()->plugged(card);
  EXPECT_EQ(rig.events, 1u);
  EXPECT_EQ(m.in32(0xae00), 1u << 5);
  EXPECT_EQ(m.in32(0xae00), 0u);
  EXPECT_EQ(m.in32(0xae0c), 1u << 5);
  m.out32(0xae08, 1u << 5);  // nobody asked for it
  EXPECT_THAT(rig.gone, IsEmpty());
  EXPECT_FALSE(rig.bus.hotplug()->request_eject(card));
  EXPECT_EQ(rig.events, 2u);
  EXPECT_EQ(m.in32(0xae04), 1u << 5);
  EXPECT_THAT(rig.gone, IsEmpty());
  m.out32(0xae08, 1u << 5 | 1u << 1);
  EXPECT_THAT(rig.gone, ElementsAre(&card));
  EXPECT_EQ(card.bus(), nullptr);
  EXPECT_NE(fixed.bus(), nullptr);
  rig.bus.remove(fixed);
}

}  // namespace
}  // namespace menura
