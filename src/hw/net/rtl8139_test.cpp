// The RTL8139C as its driver sees it.
#include "hw/net/rtl8139.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/net/test_cable.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using namespace rtl8139;
using testing::IsEmpty;

constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr u16 kIo = 0xc000;
constexpr u64 kRing = 0x10000, kTx = 0x40000;

struct Rtl8139Test : testing::Test {
  Rtl8139Test() {
    bus.bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    bus.bus.config_write({0, PciBus::devfn(3, 0)}, 0x10, 4, kIo);
    bus.bus.config_write({0, PciBus::devfn(3, 0)}, 0x04, 2, 7);
  }
  // Broadcast and our own; a ring of 8 KiB.
  void enable(u32 rcr = 0) {
    m.out32(kIo + 0x30, kRing);
    m.out32(kIo + 0x44, rcr::kAb | rcr::kApm | rcr);
    m.out8(kIo + 0x37, cr::kTe | cr::kRe);
  }
  void transmit(unsigned n, const Frame& frame) {
    ASSERT_EQ(m.memory.write(GuestAddr{kTx + n * 2048}, frame), AccessStatus::Ok);
    m.out32(static_cast<u16>(kIo + 0x20 + 4 * n), static_cast<u32>(kTx + n * 2048));
    m.out32(static_cast<u16>(kIo + 0x10 + 4 * n), static_cast<u32>(frame.size()));
  }
  u32 tsd(unsigned n) { return m.in32(static_cast<u16>(kIo + 0x10 + 4 * n)); }

  PciTestBus bus;
  TestMachine& m = bus.machine;
  TestCable cable;
  Rtl8139 card{"net0", kMac, cable, bus.machine.time};
};

Frame to(const MacAddress& mac, size_t size) {
  Frame frame(size);
  for (size_t i = 0; i < size; i++) frame[i] = static_cast<std::byte>(i < 6 ? mac[i] : i);
  return frame;
}

TEST_F(Rtl8139Test, IsAPciFunction) { EXPECT_THAT(check_pci_function(card), IsEmpty()); }

TEST_F(Rtl8139Test, TellsItsAddress) {
  EXPECT_EQ(m.in32(kIo), 0x12005452u);
  EXPECT_EQ(m.in16(kIo + 4), 0x5634);
  EXPECT_EQ(m.in32(kIo + 0x40) & 0x7cc00000, 0x74000000u) << "the chip's version";
  m.out8(kIo, 0xff);
  EXPECT_EQ(m.in8(kIo), 0x52) << "locked";
  m.out8(kIo + 0x50, 0xc0);
  m.out8(kIo, 0xfe);
  EXPECT_EQ(m.in8(kIo), 0xfe);
  // The EEPROM's word 7 by its wires.
  const auto bit = [&](u8 in) {
    m.out8(kIo + 0x50, static_cast<u8>(0x88 | in));
    m.out8(kIo + 0x50, static_cast<u8>(0x8c | in));
    return m.in8(kIo + 0x50) & 1;
  };
  m.out8(kIo + 0x50, 0x80);
  for (const int b : {1, 1, 0, 0, 0, 0, 1, 1, 1}) bit(b ? 2 : 0);
  unsigned word = 0;
  for (int i = 0; i < 16; i++) word = word << 1 | static_cast<unsigned>(bit(0));
  EXPECT_EQ(word, 0x5452u);
}

TEST_F(Rtl8139Test, SendsInTurn) {
  enable();
  m.out16(kIo + 0x3c, irq::kTok);
  cable.room = 1;
  for (unsigned n = 0; n < 3; n++) transmit(n, to(kMac, 60 + n));
  EXPECT_EQ(cable.sent.size(), 1u);
  EXPECT_TRUE(tsd(0) & tsd::kTok);
  EXPECT_FALSE(tsd(1) & tsd::kOwn) << "the wire is busy";
  EXPECT_TRUE(m.pin_level(3));
  m.out16(kIo + 0x3e, irq::kTok);
  EXPECT_FALSE(m.pin_level(3));
  cable.room = 10;
  cable.sink->writable();
  ASSERT_EQ(cable.sent.size(), 3u);
  EXPECT_EQ(cable.sent[2], to(kMac, 62));
  EXPECT_EQ(m.in16(kIo + 0x60), 0x700f) << "the summary of all four";
}

TEST_F(Rtl8139Test, ReceivesIntoItsRing) {
  enable();
  m.out16(kIo + 0x3c, irq::kRok);
  EXPECT_TRUE(m.in8(kIo + 0x37) & cr::kBufe);
  const Frame frame = to(kMac, 61);
  ASSERT_TRUE(cable.arrive(frame));
  EXPECT_FALSE(m.in8(kIo + 0x37) & cr::kBufe);
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_EQ(m.read_mem(kRing, 4), 0x00414001u) << "good, ours, 65 bytes";
  Frame stored(61);
  EXPECT_EQ(m.memory.read(GuestAddr{kRing + 4}, stored), AccessStatus::Ok);
  EXPECT_EQ(stored, frame);
  EXPECT_EQ(m.in16(kIo + 0x3a), 72) << "a multiple of four";
  m.out16(kIo + 0x38, 72 - 16);
  EXPECT_TRUE(m.in8(kIo + 0x37) & cr::kBufe);
}

TEST_F(Rtl8139Test, WrapsAndFills) {
  for (const bool wrap : {false, true}) {
    enable(wrap ? rcr::kWrap : 0);
    u32 frames = 0;
    while (cable.arrive(to(kMac, 1000))) frames++;
    EXPECT_EQ(frames, 7u) << "of 1008 bytes, with room for a longest one";
    const int accepts = cable.accepts;
    m.out16(kIo + 0x38, static_cast<u16>(7 * 1008 - 16));
    EXPECT_GT(cable.accepts, accepts);
    ASSERT_TRUE(cable.arrive(to(kMac, 1500)));
    EXPECT_EQ(m.in16(kIo + 0x3a), 7 * 1008 + 1508 - 8192);
    EXPECT_EQ(m.read_mem(wrap ? kRing + 8192 : kRing, 1), (8192 - 7 * 1008 - 4) & 0xffu)
        << "the frame goes on where it should";
    m.out16(kIo + 0x38, static_cast<u16>(m.in16(kIo + 0x3a) - 16));
  }
}

TEST_F(Rtl8139Test, FiltersAddresses) {
  const MacAddress group = {0x01, 0x00, 0x5e, 0, 0, 0xfb};
  const auto taken = [&](const MacAddress& mac) {
    const u16 before = m.in16(kIo + 0x3a);
    cable.arrive(to(mac, 60));
    return m.in16(kIo + 0x3a) != before;
  };
  enable();
  EXPECT_TRUE(taken({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_FALSE(taken({2, 2, 2, 2, 2, 2}));
  EXPECT_FALSE(taken(group));
  enable(rcr::kAm);
  EXPECT_FALSE(taken(group));
  m.out32(kIo + 0x08, 1u << (0x3f7b3b21 >> 26));  // by the CRC of the address
  EXPECT_TRUE(taken(group));
  enable(rcr::kAap);
  EXPECT_TRUE(taken({2, 2, 2, 2, 2, 2}));
}

TEST_F(Rtl8139Test, CountsTime) {
  m.out16(kIo + 0x3c, irq::kTimeOut);
  m.out32(kIo + 0x48, 0);
  m.out32(kIo + 0x54, 33'000);
  m.step_ns(999 * kNsPerUs);
  EXPECT_FALSE(m.pin_level(3));
  EXPECT_EQ(m.in32(kIo + 0x48), 999u * 33);
  m.step_ns(2 * kNsPerUs);
  EXPECT_TRUE(m.pin_level(3));
}

TEST_F(Rtl8139Test, FollowsTheCable) {
  m.out16(kIo + 0x3c, irq::kLinkChange);
  EXPECT_FALSE(m.in8(kIo + 0x58) & kMsrLinkb);
  EXPECT_EQ(m.in16(kIo + 0x74) & 0x0c00, kCscrLinkOk);
  cable.set_link(false);
  EXPECT_TRUE(m.in8(kIo + 0x58) & kMsrLinkb);
  EXPECT_EQ(m.in16(kIo + 0x74) & 0x0c00, kCscrLinkChanged);
  EXPECT_EQ(m.in16(kIo + 0x74) & 0x0c00, 0) << "told once";
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_FALSE(m.in16(kIo + 0x64) & 4);
}

TEST_F(Rtl8139Test, SurvivesHostileSizes) {
  enable();
  m.out32(kIo + 0x20, 0xfffffff0);
  m.out32(kIo + 0x10, 0x1fff);
  EXPECT_TRUE(tsd(0) & tsd::kTabt);
  m.out32(kIo + 0x24, 0xfffffff0);
  m.out32(kIo + 0x14, 100);
  EXPECT_TRUE(tsd(1) & tsd::kTabt);
  m.out32(kIo + 0x30, 0xfffffff0);
  cable.arrive(to(kMac, 1000));
  EXPECT_TRUE(cable.sent.empty());
}

struct Rtl8139Rig final : PciConformanceRig {
  Rtl8139Rig() { plug(card, PciBus::devfn(3, 0)); }
  TestCable cable;
  Rtl8139 card{"net0", kMac, cable, machine.time};
};

TEST(Rtl8139Conformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<Rtl8139Rig>(), IsEmpty());
  survive_hostile_states<Rtl8139Rig>();
}

}  // namespace
}  // namespace menura
