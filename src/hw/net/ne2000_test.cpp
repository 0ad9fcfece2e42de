// The NE2000s as their drivers see them.
#include "hw/net/ne2000.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/net/test_cable.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr u16 kIo = 0x300;
constexpr unsigned kIrq = 9;

struct Ne2000Test : testing::Test {
  Ne2000Test() { m.io_root.map(kIo, card.ports()); }
  // Words, a ring from page 46h to 80h, our address, broadcasts; started.
  void start() {
    m.out8(kIo, 0x21);
    m.out8(kIo + 14, 0x49);
    m.out8(kIo + 12, 0x04);
    m.out8(kIo + 13, 0x00);
    m.out8(kIo + 1, 0x46);
    m.out8(kIo + 2, 0x80);
    m.out8(kIo + 3, 0x46);
    m.out8(kIo + 7, 0xff);
    m.out8(kIo + 15, 0x3f);
    m.out8(kIo, 0x61);
    for (unsigned i = 0; i < 6; i++) m.out8(static_cast<u16>(kIo + 1 + i), kMac[i]);
    m.out8(kIo + 7, 0x47);
    m.out8(kIo, 0x22);
  }
  void remote(u16 address, u16 count, u8 command) {
    m.out8(kIo + 8, static_cast<u8>(address));
    m.out8(kIo + 9, static_cast<u8>(address >> 8));
    m.out8(kIo + 10, static_cast<u8>(count));
    m.out8(kIo + 11, static_cast<u8>(count >> 8));
    m.out8(kIo, static_cast<u8>(0x02 | command));
  }
  Frame fetch(u16 address, u16 count) {
    remote(address, count, 0x08);
    Frame bytes(count);
    for (size_t i = 0; i < count; i += 2) store_le<u16>(bytes, i, m.in16(kIo + 16));
    return bytes;
  }

  TestMachine m;
  TestCable cable;
  Ne2kIsa card{"net0", kMac, cable, m.pin(kIrq)};
};

Frame to(const MacAddress& mac, size_t size) {
  Frame frame(size);
  for (size_t i = 0; i < size; i++) frame[i] = static_cast<std::byte>(i < 6 ? mac[i] : i);
  return frame;
}

TEST_F(Ne2000Test, HasAnAddressProm) {
  m.in8(kIo + 31);
  EXPECT_EQ(m.in8(kIo + 7), 0x80) << "reset";
  start();
  const Frame prom = fetch(0, 32);
  for (unsigned i = 0; i < 6; i++) {
    EXPECT_EQ(prom[2 * i], std::byte{kMac[i]});
    EXPECT_EQ(prom[2 * i + 1], std::byte{kMac[i]});
  }
  EXPECT_EQ(prom[28], std::byte{0x57});
  EXPECT_EQ(prom[31], std::byte{0x57});
  EXPECT_TRUE(m.in8(kIo + 7) & 0x40) << "remote DMA complete";
  remote(0, 32, 0x08);
  for (unsigned i = 0; i < 6; i++) EXPECT_EQ(m.in8(kIo + 16), kMac[i]) << "a byte of each word";
}

TEST_F(Ne2000Test, Sends) {
  start();
  const Frame frame = to(kMac, 60);
  remote(0x4000, 60, 0x10);
  for (size_t i = 0; i < 60; i += 2) m.out16(kIo + 16, load_le<u16>(frame, i));
  m.out8(kIo + 7, 0x40);
  m.out8(kIo + 4, 0x40);
  m.out8(kIo + 5, 60);
  m.out8(kIo + 6, 0);
  cable.room = 0;
  m.out8(kIo, 0x26);
  EXPECT_TRUE(m.in8(kIo) & 4) << "under way";
  cable.room = 1;
  cable.sink->writable();
  ASSERT_EQ(cable.sent.size(), 1u);
  EXPECT_EQ(cable.sent[0], frame);
  EXPECT_FALSE(m.in8(kIo) & 4);
  EXPECT_TRUE(m.pin_level(kIrq));
  EXPECT_EQ(m.in8(kIo + 7), 0x02);
  m.out8(kIo + 7, 0x02);
  EXPECT_FALSE(m.pin_level(kIrq));
}

TEST_F(Ne2000Test, ReceivesIntoItsRing) {
  start();
  const Frame frame = to(kMac, 300);
  ASSERT_TRUE(cable.arrive(frame));
  EXPECT_TRUE(m.pin_level(kIrq));
  const Frame stored = fetch(0x4700, 304);
  EXPECT_EQ(load_le<u32>(stored, 0), 0x01304901u) << "good, next page 49h, 304 bytes";
  EXPECT_EQ(Frame(stored.begin() + 4, stored.end()), frame);
  cable.arrive(to({2, 2, 2, 2, 2, 2}, 60));
  m.out8(kIo, 0x62);
  EXPECT_EQ(m.in8(kIo + 7), 0x49) << "CURR: a stranger's frame is not let in";
}

// Linux's driver turns pages with neither bit while frames come in.
TEST_F(Ne2000Test, GoesOnWithoutStartOrStop) {
  start();
  m.out8(kIo, 0x60);
  EXPECT_EQ(m.in8(kIo), 0x62);
  m.out8(kIo, 0x20);
  EXPECT_TRUE(cable.arrive(to(kMac, 300)));
  m.out8(kIo, 0x21);
  m.out8(kIo, 0x60);
  EXPECT_EQ(m.in8(kIo), 0x61);
  EXPECT_FALSE(cable.arrive(to(kMac, 300)));
}

TEST_F(Ne2000Test, FillsAndWrapsItsRing) {
  start();
  u32 frames = 0;
  while (cable.arrive(to(kMac, 1500))) frames++;
  EXPECT_GE(frames, 8u);
  m.out8(kIo, 0x22);
  m.out8(kIo + 7, 0xff);
  EXPECT_EQ(m.in8(kIo + 7), 0);
  EXPECT_FALSE(cable.arrive(to(kMac, 1500)));
  EXPECT_EQ(m.in8(kIo + 7), 0x01) << "a frame that waits tells of those that are unread";
  const int accepts = cable.accepts;
  m.out8(kIo + 3, 0x70);
  EXPECT_GT(cable.accepts, accepts);
  ASSERT_TRUE(cable.arrive(to(kMac, 1500)));
  m.out8(kIo, 0x62);
  EXPECT_LT(m.in8(kIo + 7), 0x60);
}

TEST_F(Ne2000Test, SurvivesHostileRings) {
  u32 random = 1;
  for (int i = 0; i < 20000; i++) {
    random = random * 1664525 + 1013904223;
    m.out8(static_cast<u16>(kIo + (random >> 8) % 16), static_cast<u8>(random >> 16));
    if (i % 7 == 0) cable.arrive(to(kMac, 60 + random % 1400));
    if (i % 5 == 0) m.out16(kIo + 16, static_cast<u16>(random));
    if (i % 3 == 0) m.in16(kIo + 16);
  }
}

struct Ne2kIsaRig final : ConformanceRig {
  Ne2kIsaRig() { machine.io_root.map(kIo, card.ports()); }
  Device& device() override { return card; }
  TestCable cable;
  Ne2kIsa card{"net0", kMac, cable, machine.pin(kIrq)};
};

struct Ne2kPciRig final : PciConformanceRig {
  Ne2kPciRig() { plug(card, PciBus::devfn(3, 0)); }
  TestCable cable;
  Ne2kPci card{"net0", kMac, cable, machine.time};
};

TEST(Ne2000Conformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<Ne2kIsaRig>(), IsEmpty());
  EXPECT_THAT(conformance_problems<Ne2kPciRig>(), IsEmpty());
  survive_hostile_states<Ne2kIsaRig>();
  survive_hostile_states<Ne2kPciRig>();
}

TEST(Ne2000Conformance, IsAPciFunction) {
  PciTestBus bus;
  TestCable cable;
  Ne2kPci card("net0", kMac, cable, bus.machine.time);
  bus.bus.add(card, PciBus::devfn(3, 0)).value();
  EXPECT_THAT(check_pci_function(card), IsEmpty());
}

}  // namespace
}  // namespace menura
