#include "hw/pci/piix3.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "hw/pci/pci_config_ports.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"

namespace menura {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Rig : PciTestBus {
  Rig() {
    bus.add(piix3, PciBus::devfn(1, 0)).value();
    machine.io_root.map(0xcf8, ports.region());
    ports.set_behind(&piix3.reset_control());
    piix3.reset(ResetKind::PowerOn);
  }
  ~Rig() { bus.remove(piix3); }
  std::array<IrqLine, 16> lines() {
    std::array<IrqLine, 16> irqs;
    for (unsigned i = 0; i < 16; i++) irqs[i] = machine.pin(100 + i);
    return irqs;
  }
  bool isa(unsigned irq) { return machine.pin_level(100 + irq); }

  std::vector<Piix3::Reset> resets;
  Piix3 piix3{"piix3", lines(), [this](Piix3::Reset kind) { resets.push_back(kind); }};
  PciConfigPorts ports{bus};
};

TEST(Piix3, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(rig.piix3), IsEmpty());
}

struct ChipRig final : PciConformanceRig {
  ChipRig() {
    plug(piix3, PciBus::devfn(1, 0));
    machine.io_root.map(0xcf8, rcr);
  }
  Piix3 piix3{"piix3", {}, [](Piix3::Reset) {}};
  Region rcr = Region::mmio("rcr", 4, piix3.reset_control(), {.handler_max = 1});
};

TEST(Piix3, SurvivesWildGuestsAndStreams) {
  EXPECT_THAT(conformance_problems<ChipRig>(), IsEmpty());
  survive_hostile_states<ChipRig>();
}

TEST(Piix3, ValuesAfterReset) {
  Rig rig;
  struct Row {
    unsigned offset, size;
    u32 value;
  };
  for (const Row& row :
       {Row{0x00, 4, 0x7000'8086}, Row{0x04, 2, 0x0007},      Row{0x06, 2, 0x0200},
        Row{0x09, 1, 0x00},        Row{0x0a, 2, 0x0601},      Row{0x4c, 1, 0x4d},
        Row{0x4e, 2, 0x0003},      Row{0x60, 4, 0x8080'8080}, Row{0x69, 1, 0x02},
        Row{0x6a, 2, 0x0000},      Row{0x70, 1, 0x80},        Row{0x76, 2, 0x0c0c},
        Row{0x78, 2, 0x0002},      Row{0x80, 1, 0x00},        Row{0x82, 1, 0x00},
        Row{0xa0, 1, 0x08},        Row{0xa2, 2, 0x0000},      Row{0xa4, 4, 0x0000'0000},
        Row{0xa8, 1, 0x0f},        Row{0xaa, 2, 0x0000}})
    EXPECT_EQ(rig.piix3.config_read(row.offset, row.size), row.value) << std::hex << row.offset;
}

TEST(Piix3, RoutesEveryCode) {
  Rig rig;
  const std::set<unsigned> routable{3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15};
  for (unsigned pirq = 0; pirq < 4; pirq++) {
    for (unsigned code = 0; code < 256; code++) {
      rig.piix3.config_write(0x60 + pirq, 1, code);
      EXPECT_EQ(rig.piix3.config_read(0x60 + pirq, 1), code & 0x8f);
      (void)rig.piix3.set_irq(pirq, true);
      const bool routed = (code & 0x80) == 0 && routable.contains(code & 15);
      for (unsigned irq = 0; irq < 16; irq++)
        EXPECT_EQ(rig.isa(irq), routed && irq == (code & 15)) << code << " irq " << irq;
      EXPECT_EQ(rig.piix3.route(pirq), routed ? static_cast<int>(code & 15) : -1);
      (void)rig.piix3.set_irq(pirq, false);
    }
    rig.piix3.config_write(0x60 + pirq, 1, 0x80);
  }
}

TEST(Piix3, SharedInterruptsAreTheOrWhateverMoves) {
  Rig rig;
  std::mt19937 random(5);
  std::array<unsigned, 4> code{0x80, 0x80, 0x80, 0x80};
  std::array<bool, 4> level{};
  for (int step = 0; step < 4000; step++) {
    const unsigned pirq = random() % 4;
    if (random() % 2) {
      level[pirq] = random() % 2;
      (void)rig.piix3.set_irq(pirq, level[pirq]);
    } else {
      code[pirq] = std::array<unsigned, 4>{10, 11, 5, 0x8b}[random() % 4];
      rig.piix3.config_write(0x60 + pirq, 1, code[pirq]);
    }
    for (unsigned irq : {5u, 10u, 11u}) {
      bool expected = false;
      for (unsigned p = 0; p < 4; p++) expected |= level[p] && code[p] == irq;
      ASSERT_EQ(rig.isa(irq), expected) << "step " << step << " irq " << irq;
    }
  }
}

TEST(Piix3, TellsTheFateOfALevel) {
  Rig rig;
  EXPECT_EQ(rig.piix3.set_irq(0, true), IrqStatus::Ignored);
  rig.piix3.config_write(0x61, 1, 10);
  EXPECT_EQ(rig.piix3.set_irq(1, true), IrqStatus::Delivered);
}

TEST(Piix3, ResetControl) {
  Rig rig;
  rig.machine.out8(0xcf9, 0x02);
  EXPECT_THAT(rig.resets, IsEmpty());
  rig.machine.out8(0xcf9, 0x06);
  EXPECT_THAT(rig.resets, ElementsAre(Piix3::Reset::Hard));
  EXPECT_EQ(rig.machine.in8(0xcf9), 0x06);
  rig.machine.out8(0xcf9, 0x06);  // RCPU has to rise
  EXPECT_EQ(rig.resets.size(), 1u);
  rig.machine.out8(0xcf9, 0x00);
  rig.machine.out8(0xcf9, 0xf4);
  EXPECT_EQ(rig.machine.in8(0xcf9), 0x04);
  EXPECT_THAT(rig.resets, ElementsAre(Piix3::Reset::Hard, Piix3::Reset::Soft));
  rig.machine.out32(0xcf8, 0x0606'0606);  // a dword is CONFADD's
  EXPECT_EQ(rig.resets.size(), 2u);
  rig.piix3.reset(ResetKind::System);
  EXPECT_EQ(rig.machine.in8(0xcf9), 0x00);
}

TEST(Piix3, ResetUnroutesWithoutForgettingTheLines) {
  Rig rig;
  rig.piix3.config_write(0x60, 1, 11);
  (void)rig.piix3.set_irq(0, true);
  EXPECT_TRUE(rig.isa(11));
  rig.piix3.reset(ResetKind::System);
  EXPECT_FALSE(rig.isa(11));
  rig.piix3.config_write(0x60, 1, 11);
  EXPECT_TRUE(rig.isa(11));
}

TEST(Piix3, RoundTrip) {
  Rig rig, other;
  rig.piix3.config_write(0x60, 4, 0x0b0a'0b0a);
  (void)rig.piix3.set_irq(2, true);
  rig.machine.out8(0xcf9, 0x02);
  EXPECT_THAT(TestMachine::round_trip(rig.piix3, other.piix3), IsEmpty());
  EXPECT_EQ(other.machine.in8(0xcf9), 0x02);
  EXPECT_EQ(other.machine.pin_rises(110), 0u);  // no edge from a load
  (void)other.piix3.set_irq(0, true);
  (void)other.piix3.set_irq(0, false);
  EXPECT_TRUE(other.isa(10));  // PIRQC holds it
  (void)other.piix3.set_irq(2, false);
  EXPECT_FALSE(other.isa(10));
}

}  // namespace
}  // namespace menura
