#include "hw/pci/pci_info.h"

#include <gtest/gtest.h>

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

TEST(PciInfo, PrintsTheTree) {
  PciTestBus rig;
  PciBridge bridge("br", "pci.1");
  TestCard card("card0", IntxPin::B);
  rig.bus.add(bridge, PciBus::devfn(5, 0)).value();
  bridge.secondary_bus()->add(card, PciBus::devfn(12, 3)).value();
  bridge.config_write(pci::kPrimaryBus, 4, 0x0001'0100);
  bridge.config_write(pci::kIoBase, 2, 0xd0c0);
  bridge.config_write(pci::kMemoryBase, 4, 0xfe90'fe80);
  bridge.config_write(pci::kPrefetchBase, 4, 0x0010'0000);
  bridge.config_write(pci::kPrefetchBaseUpper, 4, 8);
  bridge.config_write(pci::kPrefetchLimitUpper, 4, 8);
  card.config_write(0x10, 4, 0xc000);
  card.config_write(0x1c, 4, 8);
  card.config_write(pci::kInterruptLine, 1, 11);
  card.config_write(pci::kCommand, 2, 3);
  EXPECT_EQ(print_pci(rig.bus), R"(  Bus  0, device   5, function 0:
    PCI bridge: PCI device 1b36:0001
      BUS 0.
      secondary bus 1.
      subordinate bus 1.
      IO range [0xc000, 0xdfff]
      memory range [0xfe800000, 0xfe9fffff]
      prefetchable memory range [0x800000000, 0x8001fffff]
      id "br"
  Bus  1, device  12, function 3:
    System peripheral: PCI device 1b36:7e57
      PCI subsystem 1af4:1100
      IRQ 11, pin B
      BAR0: I/O at 0xc000 [0xc01f].
      BAR1: 32 bit memory unmapped, size 0x1000.
      BAR2: 64 bit prefetchable memory at 0x800000000 [0x9ffffffff].
      BAR4: 32 bit prefetchable memory unmapped, size 0x1000.
      BAR6: 32 bit ROM unmapped, size 0x10000.
      id "card0"
)");
}

TEST(PciInfo, ClassNames) {
  EXPECT_EQ(pci_class_name(0x0601), "ISA bridge");
  EXPECT_EQ(pci_class_name(0x0680), "Bridge");
  EXPECT_EQ(pci_class_name(0xff00), "");
}

TEST(PciInfo, ConfigSpaceShowsWhatCanBeWritten) {
  PciTestBus rig;
  TestCard card("card0");
  rig.bus.add(card, PciBus::devfn(3, 0)).value();
  card.config_write(pci::kInterruptLine, 1, 0x0b);
  const std::string text = print_config_space(card);
  EXPECT_EQ(text.substr(0, text.find('\n')), "00: 36 1b 57 7e 00 00 10 00 07 00 80 08 00 00 00 00");
  EXPECT_NE(text.find("\n                47 05    f9             ff ff\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("0b 01"), std::string::npos);
}

}  // namespace
}  // namespace menura
