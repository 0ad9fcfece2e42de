// Expectations are from the 3 Series Express Chipset data sheet (316966 §5.1).
#include "hw/pci/q35_mch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kRam = 16 * MiB;

// DRAM as a board lays it: 16 MiB, over what PCI answers.
struct Rig {
  explicit Rig(bool with_smm = true)
      : mch("mch", {.host = {.memory = machine.memory,
                             .io = machine.io,
                             .system_memory = machine.memory_root,
                             .pci_memory = pci,
                             .io_window = machine.io_root,
                             .ram = machine.ram,
                             .msi = &machine,
                             .smm = with_smm ? &smm_root : nullptr},
                    .all_ram = ram_region,
                    .low_ram = kRam}) {
    machine.memory_root.map(0, pci, -1);
    machine.io_root.map(0xcf8, mch.config_ports());
    mch.set_pirqs(machine);
    mch.reset(ResetKind::PowerOn);
  }
  ~Rig() { machine.memory_root.unmap(pci); }
  u32 ecam(u64 at, unsigned size = 4) { return static_cast<u32>(machine.read_mem(at, size)); }

  TestMachine machine{kRam};
  Region pci = Region::container("pci", Region::kWholeSpace);
  Region ram_region = Region::ram("all", machine.ram);
  Region smm_root = Region::container("smm", Region::kWholeSpace);
  AddressSpace smm{"smm", smm_root};
  Q35Mch mch;
};

TEST(Q35Mch, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(rig.mch, {{0x9d, 2}}), IsEmpty());
}

TEST(Q35Mch, ValuesAfterReset) {
  Rig rig;
  EXPECT_EQ(rig.mch.config_read(0, 4), 0x29c0'8086u);
  EXPECT_EQ(rig.mch.config_read(0x60, 4), 0xe000'0000u);
  EXPECT_EQ(rig.mch.config_read(0x9d, 1), 0x02u);
  EXPECT_EQ(rig.mch.config_read(0xb0, 2), 0x0100u);  // 16 MiB
  EXPECT_FALSE(rig.mch.ecam());
}

// Found by fuzzing: the window is moved, resized and closed by accesses through itself.
TEST(Q35Mch, TheWindowMovesByAnAccessThroughIt) {
  Rig rig;
  rig.mch.config_write(0x60, 4, 0xb000'0001);
  rig.machine.write_mem(0xb000'0060, 8, 0xc800'0003);
  EXPECT_EQ(rig.ecam(0xb000'0000), ~0u);
  EXPECT_EQ(rig.ecam(0xc800'0000), 0x29c0'8086u);
  rig.machine.write_mem(0xc800'0060, 4, 0);
  EXPECT_EQ(rig.ecam(0xc800'0000), ~0u);
}

TEST(Q35Mch, ConfigurationSpaceInMemory) {
  Rig rig;
  TestCard card("card");
  rig.mch.root_bus().add(card, PciBus::devfn(3, 1)).value();
  card.reset(ResetKind::PowerOn);
  EXPECT_EQ(rig.ecam(0xb001'9000), ~0u);
  rig.mch.config_write(0x60, 4, 0xb000'0001);
  EXPECT_EQ(rig.ecam(0xb001'9000), card.config_read(0, 4));
  EXPECT_EQ(rig.ecam(0xb001'9006, 2), card.config_read(6, 2));
  rig.machine.write_mem(0xb001'903c, 1, 0x5a);
  EXPECT_EQ(card.config_read(0x3c, 1), 0x5au);
  EXPECT_EQ(rig.ecam(0xb001'9100), ~0u);  // no extended space
  EXPECT_EQ(rig.ecam(0xb001'90fe), ~0u);  // nor a part of it
  EXPECT_EQ(rig.ecam(0xb010'0000), ~0u);  // no bus 1
  EXPECT_EQ(rig.mch.ecam()->size, 256 * MiB);
  rig.mch.config_write(0x60, 4, 0xc800'0003);  // 128 MiB: aligned to its size
  EXPECT_EQ(rig.ecam(0xb001'9000), ~0u);
  EXPECT_EQ(rig.ecam(0xc801'9000), card.config_read(0, 4));
  rig.mch.config_write(0x60, 4, 0xc800'0007);  // reserved size
  EXPECT_EQ(rig.ecam(0xc801'9000), ~0u);
  rig.mch.root_bus().remove(card);
}

TEST(Q35Mch, ShadowRam) {
  Rig rig;
  rig.machine.ram->store<u32>(0xf'0000, 0x1234'5678);
  EXPECT_EQ(rig.machine.read_mem(0xf'0000, 4), 0xffff'ffffu);
  rig.mch.config_write(0x90, 1, 0x30);
  EXPECT_EQ(rig.machine.read_mem(0xf'0000, 4), 0x1234'5678u);
  rig.mch.config_write(0x91, 1, 0x02);  // C0000h: writes to DRAM, reads from PCI
  rig.machine.write_mem(0xc'0000, 4, 0xabcd);
  EXPECT_EQ(rig.machine.read_mem(0xc'0000, 4), 0xffff'ffffu);
  EXPECT_EQ(rig.machine.ram->load<u32>(0xc'0000), 0xabcdu);
}

TEST(Q35Mch, HoleAt15M) {
  Rig rig;
  rig.machine.ram->store<u8>(15 * MiB, 1);
  EXPECT_EQ(rig.machine.read_mem(15 * MiB, 1), 1u);
  rig.mch.config_write(0x97, 1, 0x80);
  EXPECT_EQ(rig.machine.read_mem(15 * MiB, 1), 0xffu);
}

TEST(Q35Mch, TsegIsForSmmAlone) {
  Rig rig;
  rig.machine.ram->store<u8>(kRam - 1, 0x77);
  rig.machine.ram->store<u8>(kRam - 2 * MiB - 1, 0x66);
  EXPECT_EQ(rig.machine.read_mem(kRam - 1, 1), 0x77u);
  rig.mch.config_write(0x9e, 1, 1 << 1 | 1);  // 2 MiB
  EXPECT_EQ(rig.machine.read_mem(kRam - 1, 1), 0xffu);
  EXPECT_EQ(rig.machine.read_mem(kRam - 2 * MiB, 1), 0xffu);
  EXPECT_EQ(rig.machine.read_mem(kRam - 2 * MiB - 1, 1), 0x66u);
  EXPECT_EQ(rig.smm.load({kRam - 1}, 1), 0x77u);
  rig.machine.write_mem(kRam - 1, 1, 0);
  EXPECT_EQ(rig.smm.load({kRam - 1}, 1), 0x77u);
  // Locked until the next reset.
  rig.mch.config_write(0x9d, 1, 0x1a);
  rig.mch.config_write(0x9e, 1, 0);
  EXPECT_EQ(rig.machine.read_mem(kRam - 1, 1), 0xffu);
  rig.mch.reset(ResetKind::System);
  EXPECT_EQ(rig.machine.read_mem(kRam - 1, 1), 0x77u);
}

TEST(Q35Mch, NoTsegWithoutSmm) {
  Rig rig(false);
  rig.mch.config_write(0x9e, 1, 0xff);
  EXPECT_EQ(rig.mch.config_read(0x9e, 1), 0x38u);
  rig.machine.ram->store<u8>(kRam - 1, 0x77);
  EXPECT_EQ(rig.machine.read_mem(kRam - 1, 1), 0x77u);
}

TEST(Q35Mch, InterruptWires) {
  for (unsigned slot = 0; slot < 25; slot++)
    for (unsigned pin = 0; pin < 4; pin++)
      EXPECT_EQ(Q35Mch::pirq_of(slot, pin), 4 + (slot + pin) % 4);
  for (unsigned pin = 0; pin < 4; pin++) EXPECT_EQ(Q35Mch::pirq_of(31, pin), pin);
  Rig rig;
  TestCard card("card", IntxPin::C);
  rig.mch.root_bus().add(card, PciBus::devfn(3, 0)).value();
  card.reset(ResetKind::PowerOn);
  card.set_intx(true);
  EXPECT_TRUE(rig.machine.pin_level(5));
  rig.mch.root_bus().remove(card);
  EXPECT_FALSE(rig.machine.pin_level(5));
}

TEST(Q35Mch, RoundTrip) {
  Rig rig, twin;
  rig.mch.config_write(0x60, 4, 0xb000'0001);
  rig.mch.config_write(0x90, 1, 0x30);
  rig.mch.config_write(0x9e, 1, 1);
  rig.machine.out32(0xcf8, 0x8000'0060);
  EXPECT_THAT(TestMachine::round_trip(rig.mch, twin.mch), IsEmpty());
  EXPECT_EQ(twin.ecam(0xb000'0000), 0x29c0'8086u);
  EXPECT_EQ(twin.machine.in32(0xcfc), 0xb000'0001u);
  EXPECT_EQ(twin.machine.read_mem(kRam - 1, 1), 0xffu);
}

}  // namespace
}  // namespace menura
