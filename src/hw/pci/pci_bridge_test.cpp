#include "hw/pci/pci_bridge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/pci/test_card.h"

namespace menura {
namespace {

using testing::IsEmpty;

// A bridge whose whole secondary side answers 's', and a primary side where only RAM does.
struct Rig : PciTestBus {
  Rig() {
    bus.add(bridge, PciBus::devfn(4, 0)).value();
    bridge.reset(ResetKind::PowerOn);
    bridge.secondary_bus()->space(PciSpace::Memory).map(0, memory_probe, -1);
    bridge.secondary_bus()->space(PciSpace::Io).map(0, io_probe, -1);
  }
  void write(unsigned offset, unsigned size, u32 value) {
    bridge.config_write(offset, size, value);
  }
  bool forwards_memory(u64 at) { return machine.read_mem(at, 1) == 's'; }
  bool forwards_io(u16 at) { return machine.in8(at) == 's'; }

  LetterPorts probe{'s'};
  PciBridge bridge{"bridge0", "pci.1"};
  Region memory_probe = Region::mmio("probe", Region::kWholeSpace, probe);
  Region io_probe = Region::mmio("probe", 0x10000, probe);
};

TEST(PciBridge, Conforms) {
  Rig rig;
  EXPECT_THAT(check_pci_function(rig.bridge), IsEmpty());
  EXPECT_EQ(rig.bridge.config_read(pci::kHeaderType, 1), 1u);
  EXPECT_EQ(rig.bridge.config_read(0x2c, 4), 0u);  // no subsystem register in this header
}

struct BridgeRig final : PciConformanceRig {
  BridgeRig() {
    plug(bridge, PciBus::devfn(3, 0));
    bridge.secondary_bus()->add(card, PciBus::devfn(1, 0)).value();
  }
  PciBridge bridge{"bridge0", "pci.1"};
  TestCard card{"card0"};
};

TEST(PciBridge, SurvivesWildGuestsAndStreams) {
  EXPECT_THAT(conformance_problems<BridgeRig>(), IsEmpty());
  survive_hostile_states<BridgeRig>();
}

// The decoding rules of bridge architecture 1.2 §4, for one address.
struct Model {
  u16 command, control;
  u8 iob, iol;
  u16 memb, meml, pmb, pml;
  u32 pmbu, pmlu;

  bool memory(u64 at) const {
    if ((command & 2) == 0) return false;
    if ((control & 8) != 0 && at >= 0xa0000 && at <= 0xbffff) return true;
    const u64 base = u64{memb & 0xfff0u} << 16, limit = (u64{meml & 0xfff0u} << 16) + 0xfffff;
    const u64 pbase = (u64{pmbu} << 32) + (u64{pmb & 0xfff0u} << 16);
    const u64 plimit = (u64{pmlu} << 32) + (u64{pml & 0xfff0u} << 16) + 0xfffff;
    return (at >= base && at <= limit) || (at >= pbase && at <= plimit);
  }
  bool io(u16 at) const {
    if ((command & 1) == 0) return false;
    if ((control & 8) != 0) {
      const unsigned decoded = (control & 16) != 0 ? at : at & 0x3ff;
      if ((decoded >= 0x3b0 && decoded <= 0x3bb) || (decoded >= 0x3c0 && decoded <= 0x3df))
        return true;
    }
    const unsigned base = (iob & 0xf0u) << 8, limit = ((iol & 0xf0u) << 8) + 0xfff;
    if (at < base || at > limit) return false;
    return (control & 4) == 0 || (at & 0x300) == 0;
  }
};

TEST(PciBridge, WindowsAgreeWithTheRulesAddressByAddress) {
  Rig rig;
  std::mt19937_64 random(4711);
  for (int round = 0; round < 150; round++) {
    Model m{};
    const auto r = [&](u64 below) { return random() % below; };
    m.command = static_cast<u16>(r(4) | (r(8) == 0 ? 0 : 3));
    m.control = static_cast<u16>(r(8) << 2);
    m.iob = static_cast<u8>(r(256)), m.iol = static_cast<u8>(r(256));
    // Windows of a few MiB, near each other, often empty.
    m.memb = static_cast<u16>(r(64) << 4), m.meml = static_cast<u16>(r(64) << 4);
    m.pmb = static_cast<u16>(r(64) << 4), m.pml = static_cast<u16>(r(64) << 4);
    m.pmbu = static_cast<u32>(r(3)), m.pmlu = static_cast<u32>(r(3));
    rig.write(pci::kIoBase, 1, m.iob);
    rig.write(pci::kIoLimit, 1, m.iol);
    rig.write(pci::kMemoryBase, 4, m.memb | u32{m.meml} << 16);
    rig.write(pci::kPrefetchBase, 4, m.pmb | u32{m.pml} << 16);
    rig.write(pci::kPrefetchBaseUpper, 4, m.pmbu);
    rig.write(pci::kPrefetchLimitUpper, 4, m.pmlu);
    rig.write(pci::kBridgeControl, 2, m.control);
    rig.write(pci::kCommand, 2, m.command);
    // In each KiB either side of every border the rules have, and one port anywhere.
    for (unsigned block = 0; block < 0x10000; block += 0x400) {
      for (unsigned low : {0u, 1u, 0xffu, 0x100u, 0x3afu, 0x3b0u, 0x3bbu, 0x3bcu, 0x3bfu, 0x3c0u,
                           0x3dfu, 0x3e0u, 0x3ffu, static_cast<unsigned>(r(0x400))}) {
        const u16 at = static_cast<u16>(block + low);
        ASSERT_EQ(rig.forwards_io(at), m.io(at)) << "port " << at << " round " << round;
      }
    }
    // Either side of every border the model knows, and some between.
    for (u64 border :
         {u64{0xa0000}, u64{0xc0000}, u64{m.memb} << 16, (u64{m.meml} << 16) + 0x100000,
          (u64{m.pmbu} << 32) + (u64{m.pmb} << 16),
          (u64{m.pmlu} << 32) + (u64{m.pml} << 16) + 0x100000, random() % (u64{3} << 32)})
      for (u64 at : {border - 1, border, border + 0x8000})
        ASSERT_EQ(rig.forwards_memory(at), m.memory(at)) << "address " << at << " round " << round;
  }
}

TEST(PciBridge, ABarBehindIsSeenThroughTheWindowOnly) {
  PciTestBus rig;
  PciBridge bridge("bridge0", "pci.1");
  TestCard card("card0");
  rig.bus.add(bridge, PciBus::devfn(4, 0)).value();
  bridge.secondary_bus()->add(card, PciBus::devfn(1, 0)).value();
  card.config_write(0x14, 4, 0xfe80'0000);
  card.config_write(pci::kCommand, 2, pci::kCommandMemory);
  EXPECT_EQ(rig.machine.read_mem(0xfe80'0000, 1), 0xffu);
  bridge.config_write(pci::kMemoryBase, 4, 0xfe90'fe80);
  bridge.config_write(pci::kCommand, 2, pci::kCommandMemory);
  EXPECT_EQ(rig.machine.read_mem(0xfe80'0000, 1), 'm');
  card.config_write(0x14, 4, 0xfea0'0000);  // beyond the limit
  EXPECT_EQ(rig.machine.read_mem(0xfea0'0000, 1), 0xffu);
  card.config_write(0x14, 4, 0xfe90'0000);
  EXPECT_EQ(rig.machine.read_mem(0xfe90'0fff, 1), 'm');
}

TEST(PciBridge, RemovalClosesItsWindows) {
  Rig rig;
  rig.write(pci::kMemoryBase, 4, 0xfe90'fe80);
  rig.write(pci::kCommand, 2, pci::kCommandMemory);
  ASSERT_TRUE(rig.forwards_memory(0xfe80'0000));
  rig.bus.remove(rig.bridge);
  EXPECT_FALSE(rig.forwards_memory(0xfe80'0000));
}

TEST(PciBridge, RoundTripOpensTheWindows) {
  Rig rig, other;
  rig.write(pci::kMemoryBase, 4, 0xfe90'fe80);
  rig.write(pci::kBridgeControl, 2, pci::kBridgeControlVga);
  rig.write(pci::kCommand, 2, pci::kCommandMemory | pci::kCommandIo);
  EXPECT_THAT(TestMachine::round_trip(rig.bridge, other.bridge), IsEmpty());
  EXPECT_TRUE(other.forwards_memory(0xfe80'0000));
  EXPECT_TRUE(other.forwards_io(0x3c0));
}

}  // namespace
}  // namespace menura
