// The Am79C970A as its driver sees it, with rings of each style.
#include "hw/net/pcnet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/net/test_cable.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr u16 kIo = 0xc000;
constexpr u64 kInit = 0x8000, kRx = 0x10000, kTx = 0x11000, kRxBuffers = 0x20000,
              kTxBuffers = 0x40000;
constexpr u32 kOwn = 1u << 31, kStp = 1u << 25, kEnp = 1u << 24;
constexpr unsigned kRing = 8;

Frame to(const MacAddress& mac, size_t size) {
  Frame frame(size);
  for (size_t i = 0; i < size; i++) frame[i] = static_cast<std::byte>(i < 6 ? mac[i] : i);
  return frame;
}

struct PcnetTest : testing::TestWithParam<u16> {
  PcnetTest() {
    bus.bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    bus.bus.config_write({0, PciBus::devfn(3, 0)}, 0x10, 4, kIo);
    bus.bus.config_write({0, PciBus::devfn(3, 0)}, 0x04, 2, 7);
  }
  u16 csr(u16 n) {
    m.out16(kIo + 0x12, n);
    return m.in16(kIo + 0x10);
  }
  void csr(u16 n, u16 value) {
    m.out16(kIo + 0x12, n);
    m.out16(kIo + 0x10, value);
  }
  bool wide() const { return GetParam() != 0; }
  u64 descriptor(u64 ring, u32 i) const { return ring + i * (wide() ? 16 : 8); }
  void give(u64 ring, u32 i, u64 buffer, u32 size, u32 flags) {
    const u64 at = descriptor(ring, i);
    if (!wide()) {
      m.write_mem(at, 4, buffer | (flags & 0xff000000));
      m.write_mem(at + 4, 4, 0xf000 | (-size & 0xfff));
      return;
    }
    const bool swapped = GetParam() == 3;
    m.write_mem(at + (swapped ? 8 : 0), 4, buffer);
    m.write_mem(at + (swapped ? 0 : 8), 4, 0);
    m.write_mem(at + 4, 4, flags | 0xf000 | (-size & 0xfff));
  }
  u32 flags(u64 ring, u32 i) {
    return static_cast<u32>(wide() ? m.read_mem(descriptor(ring, i) + 4, 4)
                                   : m.read_mem(descriptor(ring, i), 4)) &
           0xff000000;
  }
  u32 message_length(u32 i) {
    const u64 at = descriptor(kRx, i);
    return static_cast<u32>(wide() ? m.read_mem(at + (GetParam() == 3 ? 0 : 8), 4)
                                   : m.read_mem(at + 6, 2));
  }
  void start(u16 mode = 0) {
    m.out16(kIo + 0x12, 20);
    m.out16(kIo + 0x16, GetParam());
    if (wide()) {
      m.write_mem(kInit, 4, mode | 3u << 20 | 3u << 28);
      m.write_mem(kInit + 4, 8, 0x5634'12005452);
      m.write_mem(kInit + 12, 8, 0);
      m.write_mem(kInit + 20, 4, kRx);
      m.write_mem(kInit + 24, 4, kTx);
    } else {
      m.write_mem(kInit, 8, mode | u64{0x5634'12005452} << 16);
      m.write_mem(kInit + 8, 8, 0);
      m.write_mem(kInit + 16, 4, kRx | 3u << 29);
      m.write_mem(kInit + 20, 4, kTx | 3u << 29);
    }
    for (u32 i = 0; i < kRing; i++) {
      give(kRx, i, kRxBuffers + i * 2048, 1544, kOwn);
      give(kTx, i, 0, 0, 0);
    }
    csr(1, static_cast<u16>(kInit));
    csr(2, 0);
    csr(0, 1);
    EXPECT_TRUE(csr(0) & 0x100) << "initialised";
    csr(0, 0x142);
  }

  PciTestBus bus;
  TestMachine& m = bus.machine;
  TestCable cable;
  Pcnet card{"net0", kMac, cable, bus.machine.time};
};

INSTANTIATE_TEST_SUITE_P(Styles, PcnetTest, testing::Values(u16{0}, u16{2}, u16{3}));

TEST_P(PcnetTest, TellsWhatItIs) {
  for (u16 i = 0; i < 6; i++) EXPECT_EQ(m.in8(static_cast<u16>(kIo + i)), kMac[i]);
  EXPECT_EQ(m.in16(kIo + 14), 0x5757);
  EXPECT_EQ((u32{csr(89)} << 16 | csr(88)) >> 12 & 0xffff, 0x2621u);
  EXPECT_EQ(csr(0), 4) << "stopped";
}

TEST_P(PcnetTest, Sends) {
  start();
  const Frame frame = to(kMac, 100);
  ASSERT_EQ(m.memory.write(GuestAddr{kTxBuffers}, frame), AccessStatus::Ok);
  give(kTx, 0, kTxBuffers, 40, kOwn | kStp);
  give(kTx, 1, kTxBuffers + 40, 60, kOwn | kEnp);
  cable.room = 0;
  csr(0, 0x48);
  EXPECT_EQ(flags(kTx, 1) & kOwn, 0u);
  EXPECT_FALSE(csr(0) & 0x200);
  cable.room = 1;
  cable.sink->writable();
  ASSERT_EQ(cable.sent.size(), 1u);
  EXPECT_EQ(cable.sent[0], frame);
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_EQ(csr(0) & 0x280, 0x280);
  csr(0, 0x240);
  EXPECT_FALSE(m.pin_level(3));
}

TEST_P(PcnetTest, Receives) {
  start();
  const Frame frame = to(kMac, 100);
  ASSERT_TRUE(cable.arrive(frame));
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_TRUE(csr(0) & 0x400);
  EXPECT_EQ(flags(kRx, 0), kStp | kEnp);
  EXPECT_EQ(message_length(0), 104u);
  Frame stored(100);
  EXPECT_EQ(m.memory.read(GuestAddr{kRxBuffers}, stored), AccessStatus::Ok);
  EXPECT_EQ(stored, frame);
}

TEST_P(PcnetTest, LooksAgainForDescriptors) {
  start();
  for (u32 i = 0; i < kRing; i++) ASSERT_TRUE(cable.arrive(to(kMac, 60)));
  EXPECT_FALSE(cable.arrive(to(kMac, 60)));
  const int accepts = cable.accepts;
  give(kRx, 0, kRxBuffers, 1544, kOwn);
  m.step_ns(kNsPerMs);
  EXPECT_GT(cable.accepts, accepts);
  EXPECT_TRUE(cable.arrive(to(kMac, 60)));
}

TEST_P(PcnetTest, FiltersAddresses) {
  const MacAddress group = {0x01, 0x00, 0x5e, 0, 0, 0xfb};
  u32 next = 0;
  const auto taken = [&](const MacAddress& mac) {
    cable.arrive(to(mac, 60));
    const bool got = !(flags(kRx, next) & kOwn);
    next += got;
    return got;
  };
  start();
  EXPECT_TRUE(taken({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_FALSE(taken(group));
  EXPECT_FALSE(taken({2, 2, 2, 2, 2, 2}));
  // Its place in the filter: the first six bits of zlib's crc32, not inverted.
  csr(0, 4);
  csr(static_cast<u16>(8 + (0x21u >> 4)), static_cast<u16>(1u << (0x21u & 15)));
  csr(0, 0x142);
  next = 0;
  for (u32 i = 0; i < kRing; i++) give(kRx, i, kRxBuffers + i * 2048, 1544, kOwn);
  EXPECT_TRUE(taken(group));
  csr(0, 4);
  csr(15, 0x8000);
  csr(0, 0x142);
  next = 0;
  for (u32 i = 0; i < kRing; i++) give(kRx, i, kRxBuffers + i * 2048, 1544, kOwn);
  EXPECT_TRUE(taken({2, 2, 2, 2, 2, 2}));
}

TEST_P(PcnetTest, SurvivesHostileRings) {
  start();
  csr(0, 4);
  csr(24, 0xfff0), csr(25, 0xffff), csr(30, 0xfff0), csr(31, 0xffff);
  csr(76, 1), csr(78, 1);
  csr(0, 0x142);
  csr(0, 0x48);
  cable.arrive(to(kMac, 60));
  // A ring of nothing but our own descriptors, and frames without an end.
  start();
  for (u32 i = 0; i < kRing; i++) give(kTx, i, kTxBuffers, 4096, kOwn | (i == 0 ? kStp : 0));
  csr(0, 0x48);
  for (u32 i = 0; i < kRing; i++) EXPECT_FALSE(flags(kTx, i) & kOwn);
  EXPECT_TRUE(cable.sent.empty());
}

struct PcnetRig final : PciConformanceRig {
  PcnetRig() { plug(card, PciBus::devfn(3, 0)); }
  TestCable cable;
  Pcnet card{"net0", kMac, cable, machine.time};
};

TEST(PcnetConformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<PcnetRig>(), IsEmpty());
  survive_hostile_states<PcnetRig>();
  PciTestBus bus;
  TestCable cable;
  Pcnet card("net0", kMac, cable, bus.machine.time);
  bus.bus.add(card, PciBus::devfn(3, 0)).value();
  EXPECT_THAT(check_pci_function(card), IsEmpty());
}

}  // namespace
}  // namespace menura
