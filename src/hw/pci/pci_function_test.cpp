#include "hw/pci/pci_function.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Rig : PciTestBus {
  Rig() {
    bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
  }
  ~Rig() { bus.remove(card); }
  void command(u16 value) { card.config_write(pci::kCommand, 2, value); }
  TestCard card{"card0"};
};

TEST(PciFunction, Conforms) {
  Rig rig;
  // PMCSR discards D1 and D2.
  EXPECT_THAT(check_pci_function(rig.card, {{rig.card.power.offset() + 4, 1}}), IsEmpty());
}

struct CardRig final : PciConformanceRig {
  CardRig() { plug(card, PciBus::devfn(3, 0)); }
  TestCard card{"card0"};
};

TEST(PciFunction, SurvivesWildGuestsAndStreams) {
  EXPECT_THAT(conformance_problems<CardRig>(), IsEmpty());
  survive_hostile_states<CardRig>();
}

TEST(PciFunction, HeaderShowsTheIdentity) {
  Rig rig;
  EXPECT_EQ(rig.card.config_read(0x00, 4), 0x7e57'1b36u);
  EXPECT_EQ(rig.card.config_read(0x08, 4), 0x0880'0007u);
  EXPECT_EQ(rig.card.config_read(0x2c, 4), 0x1100'1af4u);
  EXPECT_EQ(rig.card.config_read(0x3d, 1), 1u);
  EXPECT_EQ(rig.card.config_read(0x0e, 1), 0u);
}

TEST(PciFunction, BarTypeBitsAndMasks) {
  Rig rig;
  // From PCI 3.0 figures 6-5 and 6-6: 32 ports, 4 KiB, 8 GiB prefetchable 64-bit, 64 KiB ROM.
  const std::array<std::pair<unsigned, u32>, 6> expected{{{0x10, 0xffff'ffe1},
                                                          {0x14, 0xffff'f000},
                                                          {0x18, 0x0000'000c},
                                                          {0x1c, 0xffff'fffe},
                                                          {0x20, 0xffff'f008},
                                                          {0x30, 0xffff'0001}}};
  for (const auto& [offset, mask] : expected) {
    rig.card.config_write(offset, 4, 0xffff'ffff);
    EXPECT_EQ(rig.card.config_read(offset, 4), mask) << offset;
  }
  rig.card.config_write(0x24, 4, 0xffff'ffff);  // BAR 5 is not there
  EXPECT_EQ(rig.card.config_read(0x24, 4), 0u);
}

TEST(PciFunction, BarsAnswerWhereTheGuestPutsThem) {
  Rig rig;
  rig.card.config_write(0x10, 4, 0xc000);
  rig.card.config_write(0x14, 4, 0xfebf'0000);
  rig.card.config_write(0x18, 4, 0);
  rig.card.config_write(0x1c, 4, 0x12);
  rig.card.config_write(0x30, 4, 0xfeb0'0000);
  EXPECT_EQ(rig.machine.in8(0xc000), 0xff);
  EXPECT_EQ(rig.machine.read_mem(0xfebf'0000, 4), 0xffff'ffffu);
  rig.command(pci::kCommandIo | pci::kCommandMemory);
  EXPECT_EQ(rig.machine.in8(0xc01f), 'i');
  EXPECT_EQ(rig.machine.in8(0xc020), 0xff);
  EXPECT_EQ(rig.machine.read_mem(0xfebf'0ffc, 4), 0x6d6d'6d6du);
  EXPECT_EQ(rig.machine.read_mem(0x12'0000'0000, 8), 0x7777'7777'7777'7777u);
  EXPECT_EQ(rig.machine.read_mem(0x13'ffff'ffff, 1), 'w');
  EXPECT_EQ(rig.machine.read_mem(0xfeb0'0000, 1), 0xffu);  // the ROM's own enable bit
  rig.card.config_write(0x30, 1, 1);
  EXPECT_EQ(rig.machine.read_mem(0xfeb0'ffff, 1), 'r');
  rig.machine.write_mem(0xfebf'0010, 4, 0x1234'5678);
  EXPECT_EQ(rig.card.memory.last_offset, 0x10u);
  EXPECT_EQ(rig.card.memory.last_value, 0x1234'5678u);
}

TEST(PciFunction, BarMovesByteByByteAndUnaligned) {
  Rig rig;
  rig.command(pci::kCommandMemory);
  rig.card.config_write(0x16, 2, 0xfebf);
  EXPECT_EQ(rig.card.bars()[1].mapped, 0xfebf'0000u);
  rig.card.config_write(0x15, 1, 0x30);
  EXPECT_EQ(rig.card.bars()[1].mapped, 0xfebf'3000u);
  rig.card.config_write(0x13, 4, 0x7faa'bbcc);  // across BAR 0 and BAR 1
  EXPECT_EQ(rig.card.bars()[1].mapped, 0xfe7f'a000u);
}

TEST(PciFunction, SizingValuesAndZeroDoNotDecode) {
  Rig rig;
  rig.command(pci::kCommandIo | pci::kCommandMemory);
  for (u32 value : {0xffff'ffffu, 0u}) {
    for (unsigned offset : {0x10u, 0x14u, 0x18u, 0x1cu, 0x20u, 0x30u})
      rig.card.config_write(offset, 4, value);
    for (const PciBar& bar : rig.card.bars()) EXPECT_FALSE(bar.mapped);
  }
  rig.card.config_write(0x10, 4, 0x1'c000);  // I/O space ends at 64 KiB
  EXPECT_FALSE(rig.card.bars()[0].mapped);
}

TEST(PciFunction, OneViewForAWholeChange) {
  Rig rig;
  rig.card.config_write(0x14, 4, 0xfebf'0000);
  rig.card.config_write(0x1c, 4, 0x12);
  rig.card.config_write(0x20, 4, 0xfebe'0000);
  const u64 before = rig.machine.memory.generation();
  rig.command(pci::kCommandMemory);
  EXPECT_EQ(rig.machine.memory.generation(), before + 1);
}

TEST(PciFunction, ImpossibleSizesAreErrors) {
  LetterPorts ports{'x'};
  struct Case {
    BarKind kind;
    u64 size;
  };
  for (const Case& c : {Case{BarKind::Memory32, 3000}, Case{BarKind::Memory32, 8},
                        Case{BarKind::Memory32, u64{1} << 32}, Case{BarKind::Io, 2},
                        Case{BarKind::Io, 0x20000}, Case{BarKind::Memory64, 0x30'0000'0000}}) {
    TestCard card("odd");
    Region region = Region::mmio("odd", c.size, ports);
    const Result<void> added = card.add_bar(5 - (c.kind == BarKind::Memory64), c.kind, region);
    ASSERT_FALSE(added) << c.size;
    EXPECT_EQ(added.error().code, Errc::InvalidArgument);
    EXPECT_THAT(added.error().text, HasSubstr("must be a power of two"));
  }
}

TEST(PciFunction, IntxIsRoutedHeldBackAndShown) {
  Rig rig;
  const unsigned pin = 3;  // slot 3, INTA#: (3 + 0) mod 4
  rig.card.set_intx(true);
  EXPECT_TRUE(rig.machine.pin_level(pin));
  EXPECT_TRUE(rig.card.config_read(pci::kStatus, 2) & pci::kStatusInterrupt);
  rig.command(pci::kCommandIntxDisable);
  EXPECT_FALSE(rig.machine.pin_level(pin));
  EXPECT_TRUE(rig.card.config_read(pci::kStatus, 2) & pci::kStatusInterrupt);  // §6.2.3: still
  rig.command(0);
  EXPECT_TRUE(rig.machine.pin_level(pin));
  rig.card.reset(ResetKind::System);
  EXPECT_FALSE(rig.machine.pin_level(pin));
  EXPECT_EQ(rig.card.config_read(pci::kStatus, 2) & pci::kStatusInterrupt, 0u);
}

TEST(PciFunction, SharedPinsAreOred) {
  Rig rig;
  TestCard other("card1", IntxPin::D);  // slot 4, INTD#: (4 + 3) mod 4 = 3
  rig.bus.add(other, PciBus::devfn(4, 0)).value();
  rig.card.set_intx(true);
  other.set_intx(true);
  rig.card.set_intx(false);
  EXPECT_TRUE(rig.machine.pin_level(3));
  EXPECT_EQ(rig.machine.pin_rises(3), 1u);
  rig.bus.remove(other);
  EXPECT_FALSE(rig.machine.pin_level(3));
}

TEST(PciFunction, DmaNeedsBusMastering) {
  Rig rig;
  std::array<std::byte, 4> bytes{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  EXPECT_EQ(rig.card.dma_write({0x1000}, bytes), AccessStatus::Refused);
  EXPECT_EQ(rig.machine.read_mem(0x1000, 4), 0u);
  rig.command(pci::kCommandBusMaster);
  EXPECT_EQ(rig.card.dma_write({0x1000}, bytes), AccessStatus::Ok);
  EXPECT_EQ(rig.machine.read_mem(0x1000, 4), 0x0403'0201u);
  std::array<std::byte, 2> back{};
  EXPECT_EQ(rig.card.dma_read({0x1002}, back), AccessStatus::Ok);
  EXPECT_EQ(back[1], std::byte{4});
}

TEST(PciFunction, SleepsInD3) {
  Rig rig;
  rig.card.config_write(0x14, 4, 0xfebf'0000);
  rig.command(pci::kCommandMemory | pci::kCommandBusMaster);
  const unsigned pmcsr = rig.card.power.offset() + 4;
  rig.card.set_intx(true);
  rig.card.config_write(pmcsr, 2, 3);
  EXPECT_FALSE(rig.card.bars()[1].mapped);
  EXPECT_FALSE(rig.card.bus_master());
  EXPECT_FALSE(rig.machine.pin_level(3));
  rig.card.config_write(pmcsr, 2, 1);  // D1: not supported, discarded
  EXPECT_EQ(rig.card.config_read(pmcsr, 2) & 3, 3u);
  rig.card.config_write(pmcsr, 2, 0);
  EXPECT_EQ(rig.card.bars()[1].mapped, 0xfebf'0000u);
  EXPECT_TRUE(rig.machine.pin_level(3));
}

TEST(PciFunction, RoundTripRestoresMappingsWithoutEdges) {
  Rig rig;
  rig.card.config_write(0x14, 4, 0xfebf'0000);
  rig.command(pci::kCommandMemory | pci::kCommandBusMaster);
  rig.card.set_intx(true);
  rig.card.config_write(rig.card.msix.offset() + 2, 2, 0x4000);

  Rig other;
  EXPECT_THAT(TestMachine::round_trip(rig.card, other.card), IsEmpty());
  EXPECT_EQ(other.machine.read_mem(0xfebf'0000, 1), 'm');
  EXPECT_TRUE(other.bus.pin_level(3));
  EXPECT_EQ(other.machine.pin_rises(3), 0u);  // the sink restores its own view
  other.card.set_intx(false);
  EXPECT_FALSE(other.bus.pin_level(3));
}

}  // namespace
}  // namespace menura
