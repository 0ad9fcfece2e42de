#include "hw/pci/i440fx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::IsEmpty;

// DRAM filled with 0xdd bytes; behind PCI a memory that answers 'p' everywhere and notes writes.
struct Rig {
  explicit Rig(Region* smm_root = nullptr) : smm(smm_root) {
    m.memory_root.map(0, pci_memory, -1);
    pci_memory.map(0, probe);
    m.io_root.map(0xcf8, pmc.config_ports());
    m.ram->fill(0, m.ram->size(), std::byte{0xdd});
    pmc.reset(ResetKind::PowerOn);
  }
  void write(unsigned offset, unsigned size, u32 value) { pmc.config_write(offset, size, value); }
  u32 read(unsigned offset, unsigned size) { return pmc.config_read(offset, size); }

  Region* const smm;
  TestMachine m;
  LetterPorts pci_side{'p'};
  Region pci_memory = Region::container("pci-memory", Region::kWholeSpace);
  Region probe = Region::mmio("probe", Region::kWholeSpace, pci_side);
  I440fx pmc{"i440fx",
             {.memory = m.memory,
              .io = m.io,
              .system_memory = m.memory_root,
              .pci_memory = pci_memory,
              .io_window = m.io_root,
              .ram = m.ram,
              .msi = &m,
              .smm = smm}};
};

TEST(I440fx, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(rig.pmc, {{0x72, 1}}), IsEmpty());
}

struct ChipRig final : ConformanceRig {
  ChipRig() {
    machine.memory_root.map(0, pci_memory, -1);
    machine.io_root.map(0xcf8, pmc.config_ports());
  }
  Device& device() override { return pmc; }
  Region pci_memory = Region::container("pci-memory", Region::kWholeSpace);
  I440fx pmc{"i440fx",
             {.memory = machine.memory,
              .io = machine.io,
              .system_memory = machine.memory_root,
              .pci_memory = pci_memory,
              .io_window = machine.io_root,
              .ram = machine.ram}};
};

TEST(I440fx, SurvivesWildGuestsAndStreams) {
  EXPECT_THAT(conformance_problems<ChipRig>(), IsEmpty());
  survive_hostile_states<ChipRig>();
}

TEST(I440fx, ValuesAfterReset) {
  Rig rig;
  // 82441FX data sheet, table of configuration registers.
  struct Row {
    unsigned offset, size;
    u32 value;
  };
  for (const Row& row : {Row{0x00, 2, 0x8086},     Row{0x02, 2, 0x1237},     Row{0x04, 2, 0x0006},
                         Row{0x06, 2, 0x0280},     Row{0x09, 1, 0x00},       Row{0x0a, 1, 0x00},
                         Row{0x0b, 1, 0x06},       Row{0x0d, 1, 0x00},       Row{0x0e, 1, 0x00},
                         Row{0x52, 1, 0x00},       Row{0x53, 1, 0x80},       Row{0x54, 1, 0x00},
                         Row{0x55, 2, 0x0000},     Row{0x57, 1, 0x01},       Row{0x58, 1, 0x10},
                         Row{0x59, 4, 0},          Row{0x5d, 2, 0},          Row{0x5f, 1, 0},
                         Row{0x60, 4, 0x01010101}, Row{0x64, 4, 0x01010101}, Row{0x68, 1, 0x00},
                         Row{0x70, 1, 0x00},       Row{0x71, 1, 0x10},       Row{0x72, 1, 0x02},
                         Row{0x90, 2, 0}})
    EXPECT_EQ(rig.read(row.offset, row.size), row.value) << std::hex << row.offset;
}

TEST(I440fx, AnswersThroughMechanismOne) {
  Rig rig;
  rig.m.out32(0xcf8, 0x8000'0000);
  EXPECT_EQ(rig.m.in32(0xcfc), 0x1237'8086u);
  rig.pmc.reset(ResetKind::System);
  EXPECT_EQ(rig.m.in32(0xcf8), 0u);
}

// The data sheet's table of PAM fields.
struct Pam {
  unsigned reg;
  unsigned shift;
  u64 first;
  u64 size;
};
constexpr Pam kPams[] = {
    {0x59, 4, 0xf0000, 0x10000}, {0x5a, 0, 0xc0000, 0x4000}, {0x5a, 4, 0xc4000, 0x4000},
    {0x5b, 0, 0xc8000, 0x4000},  {0x5b, 4, 0xcc000, 0x4000}, {0x5c, 0, 0xd0000, 0x4000},
    {0x5c, 4, 0xd4000, 0x4000},  {0x5d, 0, 0xd8000, 0x4000}, {0x5d, 4, 0xdc000, 0x4000},
    {0x5e, 0, 0xe0000, 0x4000},  {0x5e, 4, 0xe4000, 0x4000}, {0x5f, 0, 0xe8000, 0x4000},
    {0x5f, 4, 0xec000, 0x4000},
};

// Reads at both ends of a segment, then a write, and looks where it went.
void expect_route(Rig& rig, u64 at, bool reads_dram, bool writes_dram) {
  SCOPED_TRACE(testing::Message() << std::hex << at << " re " << reads_dram << " we "
                                  << writes_dram);
  rig.m.ram->fill(at, 8, std::byte{0xdd});
  rig.pci_side.last_offset = ~u64{0};
  EXPECT_EQ(rig.m.read_mem(at, 1), reads_dram ? 0xddu : 'p');
  EXPECT_EQ(rig.m.read_mem(at, 4), reads_dram ? 0xdddd'ddddu : 0x7070'7070u);
  rig.m.write_mem(at, 2, 0x5566);
  EXPECT_EQ(rig.m.ram->load<u16>(at), writes_dram ? 0x5566 : 0xdddd);
  EXPECT_EQ(rig.m.ram->load<u8>(at + 2), 0xdd);
  // In the read-only mode the write is dropped, which the header states.
  EXPECT_EQ(rig.pci_side.last_offset, !reads_dram && !writes_dram ? at : ~u64{0});
  rig.m.ram->fill(at, 8, std::byte{0xdd});
}

TEST(I440fx, PamMatrixOfEverySegmentAndMode) {
  Rig rig;
  for (const Pam& pam : kPams) {
    for (unsigned mode = 0; mode < 4; mode++) {
      rig.write(pam.reg, 1, mode << pam.shift);
      for (const Pam& other : kPams) {
        const unsigned now = &other == &pam ? mode : 0;
        for (u64 at : {other.first, other.first + other.size - 4})
          expect_route(rig, at, (now & 1) != 0, (now & 2) != 0);
      }
      rig.write(pam.reg, 1, 0);
    }
  }
}

TEST(I440fx, PamsTogetherAsFirmwareWritesThem) {
  Rig rig;
  rig.write(0x59, 4, 0x3333'3330);
  rig.write(0x5d, 2, 0x3333);
  rig.write(0x5f, 1, 0x33);
  for (u64 at = 0xc0000; at < 0x100000; at += 0x1000) {
    ASSERT_EQ(rig.m.read_mem(at, 1), 0xddu) << at;
    rig.m.write_mem(at, 1, 0x42);
    ASSERT_EQ(rig.m.ram->load<u8>(at), 0x42) << at;
  }
  EXPECT_EQ(rig.m.read_mem(0xbffff, 1), 'p');
  EXPECT_EQ(rig.m.read_mem(0x9ffff, 1), 0xddu);
  EXPECT_EQ(rig.m.read_mem(0x100000, 1), 0xddu);
}

TEST(I440fx, ShadowCopyReadsTheRomAndWritesTheDram) {
  Rig rig;
  rig.write(0x59, 1, 0x20);
  for (u64 at = 0xf0000; at < 0xf0100; at += 4) rig.m.write_mem(at, 4, rig.m.read_mem(at, 4));
  rig.write(0x59, 1, 0x10);
  EXPECT_EQ(rig.m.read_mem(0xf00fc, 4), 0x7070'7070u);
  EXPECT_EQ(rig.m.read_mem(0xf0100, 4), 0xdddd'ddddu);
}

TEST(I440fx, SmramOpensOnlyWhenEnabled) {
  Rig rig;
  for (u32 value = 0; value < 0x80; value += 8) {
    if ((value & 0x10) != 0) continue;  // locked: below
    rig.write(0x72, 1, value);
    const bool open = (value & 0x48) == 0x48;
    for (u64 at : {u64{0xa0000}, u64{0xbfffc}}) expect_route(rig, at, open, open);
    EXPECT_EQ(rig.read(0x72, 1), value | 2) << "C_BASE_SEG is fixed";
  }
}

TEST(I440fx, WherePciAnswersNotTheDramStaysHidden) {
  Rig rig;
  rig.pci_memory.unmap(rig.probe);
  for (const u64 at : {0xa0000, 0xbfffc, 0xc0000, 0xf0000}) {
    rig.m.write_mem(at, 4, 0x1234'5678);
    EXPECT_EQ(rig.m.read_mem(at, 4), 0xffff'ffffu) << at;
    EXPECT_EQ(rig.m.ram->load<u32>(at), 0xdddd'ddddu) << at;
  }
  rig.write(0x59, 1, 0x30);
  EXPECT_EQ(rig.m.read_mem(0xf0000, 4), 0xdddd'ddddu);
}

// What a CPU in system-management mode sees: SMRAM when G_SMRAME is set, open or not.
TEST(I440fx, SmmSeesSmram) {
  Region root = Region::container("smm", Region::kWholeSpace);
  AddressSpace smm("smm", root);
  Rig rig(&root);
  rig.m.ram->store<u8>(0xa0000, 0x5a);
  EXPECT_EQ(smm.load({0xa0000}, 1), 'p');
  rig.write(0x72, 1, 0x08);
  EXPECT_EQ(smm.load({0xa0000}, 1), 0x5au);
  EXPECT_EQ(rig.m.read_mem(0xa0000, 1), 'p');
  smm.store({0xbffff}, 1, 0x77);
  EXPECT_EQ(rig.m.ram->load<u8>(0xbffff), 0x77u);
  EXPECT_EQ(smm.load({0x9ffff}, 1), 0xddu) << "all else is as ever";
  EXPECT_EQ(smm.load({0xc0000}, 1), 'p');
  rig.write(0x59, 1, 0x30);
  EXPECT_EQ(smm.load({0xf0000}, 1), 0xddu);
  rig.pmc.reset(ResetKind::System);
  EXPECT_EQ(smm.load({0xa0000}, 1), 'p');
}

TEST(I440fx, SmramLockHoldsUntilReset) {
  Rig rig;
  rig.write(0x72, 1, 0x48);
  ASSERT_EQ(rig.m.read_mem(0xa0000, 1), 0xddu);
  rig.write(0x72, 1, 0x58);  // D_OPEN falls with D_LCK
  EXPECT_EQ(rig.read(0x72, 1), 0x1au);
  EXPECT_EQ(rig.m.read_mem(0xa0000, 1), 'p');
  rig.write(0x70, 4, 0xff40'ff40);
  EXPECT_EQ(rig.read(0x72, 1), 0x1au);
  rig.write(0x72, 1, 0x20);  // D_CLS stays writable
  EXPECT_EQ(rig.read(0x72, 1), 0x3au);

  Rig other;
  EXPECT_THAT(TestMachine::round_trip(rig.pmc, other.pmc), IsEmpty());
  other.write(0x72, 1, 0x40);
  EXPECT_EQ(other.read(0x72, 1), 0x1au);

  rig.pmc.reset(ResetKind::System);
  EXPECT_EQ(rig.read(0x72, 1), 0x02u);
  rig.write(0x72, 1, 0x48);
  EXPECT_EQ(rig.m.read_mem(0xbffff, 1), 0xddu);
}

TEST(I440fx, FixedDramHoles) {
  Rig rig;
  EXPECT_EQ(rig.m.read_mem(0x80000, 1), 0xddu);
  rig.write(0x68, 1, 0x40);
  expect_route(rig, 0x80000, false, false);
  expect_route(rig, 0x9fffc, false, false);
  EXPECT_EQ(rig.m.read_mem(0x7ffff, 1), 0xddu);
  rig.write(0x68, 1, 0x80);
  expect_route(rig, 0xf0'0000, false, false);
  expect_route(rig, 0xff'fff8, false, false);
  EXPECT_EQ(rig.m.read_mem(0x80000, 1), 0xddu);
  EXPECT_EQ(rig.m.read_mem(0xef'ffff, 1), 0xddu);
  rig.write(0x68, 1, 0);
  EXPECT_EQ(rig.m.read_mem(0xf0'0000, 1), 0xddu);
}

TEST(I440fx, RoundTripRestoresTheMap) {
  Rig rig, other;
  rig.write(0x59, 4, 0x1320'0330);
  rig.m.out32(0xcf8, 0x8000'0058);
  EXPECT_THAT(TestMachine::round_trip(rig.pmc, other.pmc), IsEmpty());
  EXPECT_EQ(other.m.in32(0xcf8), 0x8000'0058u);
  for (u64 at = 0xc0000; at < 0x100000; at += 0x4000)
    EXPECT_EQ(other.m.read_mem(at, 1), rig.m.read_mem(at, 1)) << at;
}

TEST(I440fx, SlotsTurnTheirPins) {
  // Slot 1's INTA# is PIRQA; SeaBIOS and the tables count (slot - 1 + pin) mod 4.
  EXPECT_EQ(I440fx::pirq_of(1, 0), 0u);
  EXPECT_EQ(I440fx::pirq_of(1, 3), 3u);
  EXPECT_EQ(I440fx::pirq_of(3, 0), 2u);
  EXPECT_EQ(I440fx::pirq_of(3, 2), 0u);
  EXPECT_EQ(I440fx::pirq_of(31, 1), 3u);
  Rig rig;
  TestCard card("card", IntxPin::C);
  rig.pmc.root_bus().add(card, PciBus::devfn(3, 0)).value();
  card.set_intx(true);  // nobody takes it yet
  card.set_intx(false);
  rig.pmc.set_pirqs(rig.m);
  card.set_intx(true);
  EXPECT_TRUE(rig.m.pin_level(0));
}

}  // namespace
}  // namespace menura
