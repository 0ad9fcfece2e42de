// The 82540EM as its driver sees it: registers by MMIO, rings in memory, frames on the cable.
// Checksums are judged by the plain loops here, not by the card's own.
#include "hw/net/e1000.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/net/frames.h"
#include "hw/net/test_cable.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using namespace e1000;
using testing::IsEmpty;

constexpr MacAddress kMac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr u64 kBar = 0xfe00'0000;
constexpr u64 kRxRing = 0x10000, kTxRing = 0x20000, kRxBuffers = 0x100000, kTxBuffers = 0x200000;
constexpr u32 kRingSize = 16;

struct E1000Test : testing::Test {
  E1000Test() {
    bus.bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    config(0x10, kBar);
    config(0x04, 0x7);
    reg(0x2800, kRxRing);
    reg(0x2808, kRingSize * 16);
    reg(0x3800, kTxRing);
    reg(0x3808, kRingSize * 16);
  }
  void config(unsigned offset, u32 value) {
    bus.bus.config_write({0, PciBus::devfn(3, 0)}, offset, 4, value);
  }
  u32 reg(u32 offset) { return static_cast<u32>(m.read_mem(kBar + offset, 4)); }
  void reg(u32 offset, u32 value) { m.write_mem(kBar + offset, 4, value); }
  // Fills the receive ring with buffers of 2 KiB.
  void enable_receive(u32 rctl = 0) {
    for (u32 i = 0; i < kRingSize; i++) {
      m.write_mem(kRxRing + i * 16, 8, kRxBuffers + i * 2048);
      m.write_mem(kRxRing + i * 16 + 8, 8, 0);
    }
    reg(0x2810, 0);
    reg(0x2818, kRingSize - 1);
    reg(0x100, rctl::kEn | rctl::kBam | rctl);
  }
  u8 rx_status(u32 i) { return static_cast<u8>(m.read_mem(kRxRing + i * 16 + 12, 1)); }
  u8 rx_errors(u32 i) { return static_cast<u8>(m.read_mem(kRxRing + i * 16 + 13, 1)); }
  u16 rx_length(u32 i) { return static_cast<u16>(m.read_mem(kRxRing + i * 16 + 8, 2)); }
  Frame rx_bytes(u32 i, size_t size) {
    Frame frame(size);
    EXPECT_EQ(m.memory.read(GuestAddr{kRxBuffers + i * 2048}, frame), AccessStatus::Ok);
    return frame;
  }
  void put(u64 at, ConstBytes bytes) {
    EXPECT_EQ(m.memory.write(GuestAddr{at}, bytes), AccessStatus::Ok);
  }
  void descriptor(u64 address, u32 command, u32 last) {
    const u64 at = kTxRing + tail * 16;
    m.write_mem(at, 8, address);
    m.write_mem(at + 8, 4, command);
    m.write_mem(at + 12, 4, last);
    tail = (tail + 1) % kRingSize;
  }
  void send() {
    reg(0x400, tctl::kEn | tctl::kPsp);
    reg(0x3818, tail);
  }
  u8 tx_status(u32 i) { return static_cast<u8>(m.read_mem(kTxRing + i * 16 + 12, 1)); }

  PciTestBus bus;
  TestMachine& m = bus.machine;
  TestCable cable;
  E1000 card{"net0", kMac, cable, bus.machine.time};
  u32 tail = 0;
};

Frame to(const MacAddress& mac, size_t size, u16 type = 0x88b5) {
  Frame frame(size);
  for (size_t i = 0; i < 6; i++) frame[i] = static_cast<std::byte>(mac[i]);
  for (size_t i = 14; i < size; i++) frame[i] = static_cast<std::byte>(i);
  store_be<u16>(frame, 12, type);
  return frame;
}

u16 plain_sum(ConstBytes bytes, u32 sum = 0) {
  for (size_t i = 0; i < bytes.size(); i++)
    sum += static_cast<u32>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u16>(sum);
}

// IPv4 and TCP headers and a payload; checksums left out, as a driver does.
Frame tcp_frame(size_t payload, u8 flags = 0x19) {
  Frame frame = to({0x52, 0x55, 0x0a, 0, 2, 2}, 54 + payload, 0x0800);
  for (size_t i = 14; i < 54; i++) frame[i] = std::byte{0};
  store_be<u16>(frame, 14, 0x4500);
  store_be<u16>(frame, 16, static_cast<u16>(40 + payload));
  store_be<u16>(frame, 18, 0x1000);
  store_be<u16>(frame, 22, 0x4006);
  store_be<u32>(frame, 26, 0x0a00020f);
  store_be<u32>(frame, 30, 0x0a000202);
  store_be<u32>(frame, 34, 0x04000050);
  store_be<u32>(frame, 38, 1000);
  frame[46] = std::byte{0x50};
  frame[47] = static_cast<std::byte>(flags);
  return frame;
}

void expect_good_checksums(const Frame& frame) {
  EXPECT_EQ(plain_sum(ConstBytes(frame).subspan(14, 20)), 0xffff);
  const ConstBytes tcp = ConstBytes(frame).subspan(34);
  EXPECT_EQ(plain_sum(tcp, plain_sum(ConstBytes(frame).subspan(26, 8)) + 6u +
                               static_cast<u32>(tcp.size())),
            0xffff);
}

TEST_F(E1000Test, IsAPciFunction) {
  EXPECT_THAT(check_pci_function(card), IsEmpty());
  EXPECT_EQ(card.identity().device, 0x100e);
}

TEST_F(E1000Test, TellsItsAddressByEepromAndReceiveAddress) {
  EXPECT_EQ(reg(0x5400), 0x12005452u);
  EXPECT_EQ(reg(0x5404), 0x80005634u);
  u16 sum = 0;
  for (u32 word = 0; word < 64; word++) {
    reg(0x14, word << 8 | 1);
    EXPECT_TRUE(reg(0x14) & 0x10);
    sum = static_cast<u16>(sum + (reg(0x14) >> 16));
  }
  EXPECT_EQ(sum, 0xbaba);
  // By the four wires: start, read, word 2, and sixteen bits out.
  const auto bit = [&](u32 wires) {
    reg(0x10, eecd::kReq | wires);
    reg(0x10, eecd::kReq | wires | eecd::kSk);
    return (reg(0x10) & eecd::kDo) != 0;
  };
  reg(0x10, eecd::kReq);
  EXPECT_TRUE(reg(0x10) & eecd::kGnt);
  u32 word = 0;
  for (const int b : {1, 1, 0, 0, 0, 0, 0, 1, 0}) bit(eecd::kCs | (b ? eecd::kDi : 0));
  for (int i = 0; i < 16; i++) word = word << 1 | bit(eecd::kCs);
  EXPECT_EQ(word, 0x5634u);
}

TEST_F(E1000Test, HasATransceiver) {
  reg(0x20, 2u << 26 | 1u << 21 | 2u << 16);
  EXPECT_EQ(reg(0x20) & 0xffff, 0x0141u);
  EXPECT_TRUE(reg(0x20) & 1u << 28);
  reg(0x20, 2u << 26 | 7u << 21 | 2u << 16);
  EXPECT_TRUE(reg(0x20) & 1u << 30) << "no transceiver there";
  reg(0x20, 2u << 26 | 1u << 21 | 1u << 16);
  EXPECT_EQ(reg(0x20) & 0x24, 0x24u) << "link up, negotiated";
}

TEST_F(E1000Test, SendsAndReports) {
  const Frame frame = to(kMac, 100);
  put(kTxBuffers, frame);
  reg(0xd0, irq::kTxdw);
  descriptor(kTxBuffers, 100 | 0x0b000000, 0);  // EOP, IFCS, RS
  send();
  ASSERT_EQ(cable.sent.size(), 1u);
  EXPECT_EQ(cable.sent[0], frame);
  EXPECT_EQ(tx_status(0) & 1, 1);
  EXPECT_EQ(reg(0x3810), 1u);
  EXPECT_TRUE(m.pin_level(3)) << "INTA# of slot 3";
  EXPECT_EQ(reg(0xc0), irq::kTxdw | irq::kTxqe);
  EXPECT_FALSE(m.pin_level(3));
  EXPECT_EQ(reg(0x4080), 1u);
  EXPECT_EQ(reg(0x4080), 0u) << "reading clears";
}

TEST_F(E1000Test, PadsShortFramesAndInsertsTags) {
  put(kTxBuffers, to(kMac, 40));
  descriptor(kTxBuffers, 40 | 0x43000000, 0x0123'0000);  // EOP, IFCS, VLE; tag
  send();
  ASSERT_EQ(cable.sent.size(), 1u);
  EXPECT_EQ(cable.sent[0].size(), 60u);
  EXPECT_EQ(load_be<u32>(cable.sent[0], 12), 0x81000123u);
  EXPECT_EQ(load_be<u16>(cable.sent[0], 16), 0x88b5);
}

TEST_F(E1000Test, ComputesChecksums) {
  Frame frame = tcp_frame(333);
  // The pseudo header's sum, as drivers leave it.
  store_be<u16>(frame, 50, plain_sum(ConstBytes(frame).subspan(26, 8), 6u + 20 + 333));
  put(kTxBuffers, frame);
  descriptor(14 | 24 << 8 | 33 << 16 | u64{34} << 32 | u64{50} << 40, 0x23000000, 0);
  descriptor(kTxBuffers, static_cast<u32>(frame.size()) | 0x2b100000, 0x300);
  send();
  ASSERT_EQ(cable.sent.size(), 1u);
  expect_good_checksums(cable.sent[0]);
}

// A packet of 2500 bytes in pieces of 1000, from three descriptors.
struct SegmentationTest : E1000Test {
  void offer() {
    Frame frame = tcp_frame(2500);
    store_be<u16>(frame, 16, 0);
    store_be<u16>(frame, 50, plain_sum(ConstBytes(frame).subspan(26, 8), 6));
    put(kTxBuffers, frame);
    descriptor(14 | 24 << 8 | 33 << 16 | u64{34} << 32 | u64{50} << 40, 2500 | 0x27000000,
               54 << 8 | 1000 << 16);
    descriptor(kTxBuffers, 54 | 0x26100000, 0x300);
    descriptor(kTxBuffers + 54, 700 | 0x26100000, 0x300);
    descriptor(kTxBuffers + 754, 1800 | 0x2f100000, 0x300);
  }
  void expect_segments() {
    ASSERT_EQ(cable.sent.size(), 3u);
    Frame payload;
    for (u32 i = 0; i < 3; i++) {
      const Frame& segment = cable.sent[i];
      EXPECT_EQ(segment.size(), i < 2 ? 1054u : 554u);
      EXPECT_EQ(load_be<u16>(segment, 16), segment.size() - 14);
      EXPECT_EQ(load_be<u16>(segment, 18), 0x1000 + i);
      EXPECT_EQ(load_be<u32>(segment, 38), 1000 + 1000 * i);
      EXPECT_EQ(segment[47], std::byte{i < 2 ? u8{0x10} : u8{0x19}}) << "FIN and PSH come last";
      expect_good_checksums(segment);
      payload.insert(payload.end(), segment.begin() + 54, segment.end());
    }
    const Frame whole = tcp_frame(2500);
    EXPECT_EQ(payload, Frame(whole.begin() + 54, whole.end()));
  }
};

TEST_F(SegmentationTest, CutsTcp) {
  offer();
  send();
  expect_segments();
  EXPECT_EQ(reg(0x40f8), 1u);
}

TEST_F(SegmentationTest, WaitsForTheWireInTheMiddle) {
  offer();
  cable.room = 1;
  send();
  EXPECT_EQ(cable.sent.size(), 1u);
  cable.room = 10;
  cable.sink->writable();
  expect_segments();
}

TEST_F(SegmentationTest, IsSavedInTheMiddle) {
  offer();
  cable.room = 1;
  send();
  TestCable other;
  E1000 twin("net0", kMac, other, m.time);
  EXPECT_THAT(TestMachine::round_trip(card, twin), IsEmpty());
}

TEST_F(E1000Test, StoresFrames) {
  enable_receive();
  reg(0xd0, irq::kRxt0);
  const Frame frame = to(kMac, 100);
  ASSERT_TRUE(cable.arrive(frame));
  EXPECT_EQ(rx_length(0), 104) << "with FCS";
  EXPECT_EQ(rx_status(0) & 3, 3);
  EXPECT_EQ(rx_bytes(0, 100), frame);
  EXPECT_EQ(reg(0x2810), 1u);
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_EQ(reg(0x4074), 1u);
  enable_receive(rctl::kSecrc);
  cable.arrive(frame);
  EXPECT_EQ(rx_length(0), 100);
}

TEST_F(E1000Test, FiltersByAddress) {
  const MacAddress stranger = {0x02, 1, 2, 3, 4, 5};
  const MacAddress group = {0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb};
  const auto taken = [&](const MacAddress& mac) {
    const u32 before = reg(0x2810);
    cable.arrive(to(mac, 60));
    return reg(0x2810) != before;
  };
  enable_receive();
  EXPECT_TRUE(taken(kMac));
  EXPECT_TRUE(taken({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  EXPECT_FALSE(taken(stranger));
  EXPECT_FALSE(taken(group));
  reg(0x5408, 0x03020102);
  reg(0x540c, 0x80000504);
  EXPECT_TRUE(taken(stranger)) << "an exact match";
  // Bits 47 to 36 of the group's address: 0xfb0.
  reg(0x5200 + 4 * (0xfb0 >> 5), 1u << (0xfb0 & 31));
  EXPECT_TRUE(taken(group)) << "by hash";
  reg(0x5200 + 4 * (0xfb0 >> 5), 0);
  enable_receive(rctl::kMpe);
  EXPECT_TRUE(taken(group));
  enable_receive(rctl::kUpe);
  EXPECT_TRUE(taken({0x02, 9, 9, 9, 9, 9}));
  reg(0x100, rctl::kEn);
  EXPECT_FALSE(taken({0xff, 0xff, 0xff, 0xff, 0xff, 0xff})) << "without BAM";
  EXPECT_EQ(cable.sink->filter()->main_mac, kMac);
}

TEST_F(E1000Test, StripsAndFiltersTags) {
  Frame frame = to(kMac, 100, 0x8100);
  store_be<u16>(frame, 14, 0x2007);
  store_be<u16>(frame, 16, 0x0800);
  reg(0, reg(0) | ctrl::kVme);
  enable_receive();
  cable.arrive(frame);
  EXPECT_EQ(rx_length(0), 100) << "four bytes less of tag, four more of FCS";
  EXPECT_TRUE(rx_status(0) & 8);
  EXPECT_EQ(m.read_mem(kRxRing + 14, 2), 0x2007u);
  EXPECT_EQ(load_be<u16>(rx_bytes(0, 100), 12), 0x0800);
  enable_receive(rctl::kVfe);
  cable.arrive(frame);
  EXPECT_EQ(reg(0x2810), 0u);
  reg(0x5600, 1u << 7);
  cable.arrive(frame);
  EXPECT_EQ(reg(0x2810), 1u);
}

TEST_F(E1000Test, ChecksChecksums) {
  reg(0x5000, rxcsum::kIpofl | rxcsum::kTuofl);
  enable_receive(rctl::kUpe);
  Frame frame = tcp_frame(100);
  store_be<u16>(frame, 24, static_cast<u16>(~plain_sum(ConstBytes(frame).subspan(14, 20))));
  store_be<u16>(frame, 50,
                static_cast<u16>(~plain_sum(ConstBytes(frame).subspan(34),
                                            plain_sum(ConstBytes(frame).subspan(26, 8)) + 126u)));
  expect_good_checksums(frame);
  cable.arrive(frame);
  EXPECT_EQ(rx_status(0) & 0x64, 0x60);
  EXPECT_EQ(rx_errors(0), 0);
  frame[60] ^= std::byte{1};
  cable.arrive(frame);
  EXPECT_EQ(rx_errors(1), 0x20) << "TCP";
  frame[22] ^= std::byte{1};
  cable.arrive(frame);
  EXPECT_EQ(rx_errors(2) & 0x40, 0x40) << "IP";
}

TEST_F(E1000Test, SpreadsLongFramesOverDescriptors) {
  enable_receive(rctl::kLpe | rctl::kSecrc);
  cable.arrive(to(kMac, 5000));
  EXPECT_EQ(rx_length(0), 2048);
  EXPECT_EQ(rx_status(0) & 3, 1);
  EXPECT_EQ(rx_length(2), 5000 - 4096);
  EXPECT_EQ(rx_status(2) & 3, 3);
  EXPECT_EQ(reg(0x2810), 3u);
  enable_receive(rctl::kSecrc);
  cable.arrive(to(kMac, 5000));
  EXPECT_EQ(reg(0x2810), 0u);
  EXPECT_EQ(reg(0x40ac), 1u) << "too long, and counted";
}

TEST_F(E1000Test, IsNotReadyWithoutDescriptors) {
  EXPECT_FALSE(cable.arrive(to(kMac, 60))) << "not enabled";
  enable_receive();
  for (u32 i = 0; i < kRingSize - 1; i++) ASSERT_TRUE(cable.arrive(to(kMac, 60))) << i;
  EXPECT_FALSE(cable.arrive(to(kMac, 60)));
  const int before = cable.accepts;
  reg(0x2818, 4);
  EXPECT_GT(cable.accepts, before);
  EXPECT_TRUE(cable.arrive(to(kMac, 60)));
  config(0x04, 0x3);
  EXPECT_FALSE(cable.arrive(to(kMac, 60))) << "no bus mastering";
}

TEST_F(E1000Test, ThrottlesInterrupts) {
  enable_receive();
  reg(0xc4, 1000);  // 256 us
  reg(0xd0, irq::kRxt0);
  cable.arrive(to(kMac, 60));
  EXPECT_TRUE(m.pin_level(3));
  reg(0xc0);
  cable.arrive(to(kMac, 60));
  EXPECT_FALSE(m.pin_level(3));
  m.step_ns(255 * kNsPerUs);
  EXPECT_FALSE(m.pin_level(3));
  m.step_ns(2 * kNsPerUs);
  EXPECT_TRUE(m.pin_level(3));
}

TEST_F(E1000Test, DelaysReceiveInterrupts) {
  enable_receive();
  reg(0xd0, irq::kRxt0);
  reg(0x2820, 100);
  reg(0x282c, 150);
  cable.arrive(to(kMac, 60));
  m.step_ns(90 * 1024);
  EXPECT_FALSE(m.pin_level(3));
  cable.arrive(to(kMac, 60));
  m.step_ns(59 * 1024);
  EXPECT_FALSE(m.pin_level(3));
  m.step_ns(2 * 1024);
  EXPECT_TRUE(m.pin_level(3)) << "the absolute limit";
}

TEST_F(E1000Test, FollowsTheCable) {
  reg(0xd0, irq::kLsc);
  EXPECT_TRUE(reg(8) & status::kLu);
  cable.set_link(false);
  EXPECT_FALSE(reg(8) & status::kLu);
  EXPECT_TRUE(m.pin_level(3));
  EXPECT_EQ(reg(0xc0), irq::kLsc);
  put(kTxBuffers, to(kMac, 60));
  descriptor(kTxBuffers, 60 | 0x0b000000, 0);
  send();
  EXPECT_TRUE(cable.sent.empty());
  EXPECT_EQ(tx_status(0) & 1, 1) << "lost, not stuck";
  cable.set_link(true);
  EXPECT_TRUE(reg(8) & status::kLu);
}

TEST_F(E1000Test, LoopsBackOnDemand) {
  enable_receive(3u << 6);
  put(kTxBuffers, to(kMac, 100));
  descriptor(kTxBuffers, 100 | 0x0b000000, 0);
  send();
  EXPECT_TRUE(cable.sent.empty());
  EXPECT_EQ(rx_length(0), 104);
}

TEST_F(E1000Test, BoundsHostileRings) {
  reg(0x400, tctl::kEn);
  reg(0x3818, 5000);  // behind the ring's end: nothing to do
  EXPECT_EQ(reg(0x3810), 0u);
  // A full ring of empty descriptors in a ring of 65536: a budget at a time.
  reg(0x3808, 0xfff80);
  reg(0x3810, 0);
  reg(0x3818, 0xfff0);
  EXPECT_LT(reg(0x3810), 2000u);
  for (int i = 0; i < 1000 && reg(0x3810) != 0xfff0; i++) m.step_to_next_timer();
  EXPECT_EQ(reg(0x3810), 0xfff0u);
  // Rings and buffers where there is no RAM.
  reg(0x3800, 0xfe000000);
  reg(0x3818, 0x10);
  reg(0x2800, 0xfe000000);
  reg(0x2808, 128);
  reg(0x2810, 0);
  reg(0x2818, 7);
  reg(0x100, rctl::kEn | rctl::kBam);
  cable.arrive(to(kMac, 60));
}

TEST_F(E1000Test, CutsIntoSmallestSegmentsABudgetAtATime) {
  put(kTxBuffers, tcp_frame(4000));
  descriptor(14 | 24 << 8 | 33 << 16 | u64{34} << 32 | u64{50} << 40, 4000 | 0x27000000,
             54 << 8 | 1 << 16);
  descriptor(kTxBuffers, 4054 | 0x2f100000, 0x300);
  send();
  EXPECT_LT(cable.sent.size(), 1000u);
  for (int i = 0; i < 100 && cable.sent.size() < 4000; i++) m.step_to_next_timer();
  EXPECT_EQ(cable.sent.size(), 4000u);
}

TEST_F(E1000Test, ReachesRegistersThroughPorts) {
  config(0x18, 0xc001);
  m.out32(0xc000, 0x5400);
  EXPECT_EQ(m.in32(0xc004), 0x12005452u);
  m.out32(0xc000, 0x20000);
  EXPECT_EQ(m.in32(0xc004), 0u);
}

struct E1000Rig final : PciConformanceRig {
  E1000Rig() { plug(card, PciBus::devfn(3, 0)); }
  TestCable cable;
  E1000 card{"net0", kMac, cable, machine.time};
};

TEST(E1000Conformance, HoldsForAnyGuest) {
  EXPECT_THAT(conformance_problems<E1000Rig>(), IsEmpty());
  survive_hostile_states<E1000Rig>();
}

}  // namespace
}  // namespace menura
