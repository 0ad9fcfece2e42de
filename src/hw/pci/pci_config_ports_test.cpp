#include "hw/pci/pci_config_ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class Behind final : public MmioHandler {
 public:
  u64 read(Access access) override { return 0xb0 + access.offset; }
  void write(Access access, u64 value) override { writes.push_back({access.offset, value}); }
  std::vector<std::pair<u64, u64>> writes;
};

struct Rig : PciTestBus {
  Rig() {
    machine.io_root.map(0xcf8, ports.region());
    ports.set_behind(&behind);
    bus.add(card, PciBus::devfn(3, 2)).value();
    card.reset(ResetKind::PowerOn);
  }
  ~Rig() { bus.remove(card); }
  TestCard card{"card0"};
  Behind behind;
  PciConfigPorts ports{bus};
};

TEST(PciConfigPorts, ConfaddTakesDwordsOnly) {
  Rig rig;
  EXPECT_EQ(rig.machine.in32(0xcf8), 0u);
  rig.machine.out32(0xcf8, 0xffff'ffff);
  EXPECT_EQ(rig.machine.in32(0xcf8), 0x80ff'fffcu);
  rig.machine.out8(0xcf9, 0x06);
  rig.machine.out16(0xcf8, 0x1234);
  rig.machine.out8(0xcfb, 0);
  EXPECT_EQ(rig.machine.in32(0xcf8), 0x80ff'fffcu);
  EXPECT_THAT(rig.behind.writes,
              ElementsAre(Pair(1, 0x06), Pair(0, 0x34), Pair(1, 0x12), Pair(3, 0)));
  EXPECT_EQ(rig.machine.in8(0xcf9), 0xb1);
  EXPECT_EQ(rig.machine.in16(0xcf9), 0xb2b1);
}

TEST(PciConfigPorts, DataAtEverySizeAndAlignment) {
  Rig rig;
  std::array<u8, 256> expected;
  for (unsigned i = 0; i < 256; i++) expected[i] = static_cast<u8>(rig.card.config_read(i, 1));
  for (unsigned reg = 0; reg < 256; reg += 4) {
    rig.machine.out32(0xcf8, 0x8000'1a00 | reg);  // bus 0, device 3, function 2
    for (unsigned size : {1u, 2u, 4u}) {
      for (unsigned byte = 0; byte + size <= 4; byte++) {
        const u64 value = rig.machine.io.load({0xcfcu + byte}, size);
        for (unsigned i = 0; i < size; i++)
          ASSERT_EQ((value >> (8 * i)) & 0xff, expected[reg + byte + i]) << reg << "+" << byte;
      }
    }
  }
}

TEST(PciConfigPorts, WritesReachTheRegister) {
  Rig rig;
  rig.machine.out32(0xcf8, 0x8000'1a3c);
  rig.machine.out8(0xcfc, 0x0b);
  EXPECT_EQ(rig.card.config_read(pci::kInterruptLine, 1), 0x0bu);
  rig.machine.out32(0xcf8, 0x8000'1a14);
  rig.machine.out16(0xcfe, 0xfebf);
  EXPECT_EQ(rig.card.config_read(0x14, 4), 0xfebf'0000u);
}

TEST(PciConfigPorts, DisabledOrAbsentReadsOnes) {
  Rig rig;
  rig.machine.out32(0xcf8, 0x0000'1a00);
  EXPECT_EQ(rig.machine.in32(0xcfc), 0xffff'ffffu);
  rig.machine.out32(0xcfc, 0);
  rig.machine.out32(0xcf8, 0x8000'2200);
  EXPECT_EQ(rig.machine.in16(0xcfc), 0xffff);
  rig.machine.out32(0xcf8, 0x8001'1a00);  // bus 1
  EXPECT_EQ(rig.machine.in8(0xcfc), 0xff);
}

TEST(PciConfigPorts, AcrossTheTwoRegisters) {
  Rig rig;
  rig.machine.out32(0xcf8, 0x8000'1a00);
  // CFAh..CFDh: two bytes behind, two of the vendor.
  EXPECT_EQ(rig.machine.in32(0xcfa), 0x1b36'b3b2u);
  rig.machine.out32(0xcf8, 0x8000'1a3c);
  rig.machine.out32(0xcfb, 0x0000'0b77);
  EXPECT_EQ(rig.card.config_read(pci::kInterruptLine, 1), 0x0bu);
  EXPECT_EQ(rig.behind.writes.back(), (std::pair<u64, u64>{3, 0x77}));
}

}  // namespace
}  // namespace menura
