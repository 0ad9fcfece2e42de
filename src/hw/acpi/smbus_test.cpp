#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/acpi/smbus_host.h"
#include "hw/core/test_machine.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u8 kInterrupt = 0x02;
constexpr u8 kDeviceError = 0x04;

struct Rig {
  Rig() {
    std::array<u8, 256> content;
    for (unsigned i = 0; i < 256; i++) content[i] = static_cast<u8>(i ^ 0x5a);
    eeprom.emplace("spd", content);
    host.attach(0x50, *eeprom);
  }
  void out(u64 port, u8 value) { host.write({port, 1}, value); }
  u8 in(u64 port) { return static_cast<u8>(host.read({port, 1})); }
  // Runs a transaction and returns its status, cleared again.
  u8 run(unsigned protocol, u8 address, bool read) {
    out(4, static_cast<u8>(address << 1 | read));
    out(2, static_cast<u8>(0x40 | protocol << 2));
    const u8 status = in(0);
    out(0, 0xff);
    EXPECT_EQ(in(0), 0);
    return status;
  }
  std::optional<SmbusEeprom> eeprom;
  unsigned changes = 0;
  SmbusHost host{[this] { changes++; }};
};

TEST(SmbusHost, NobodyAcknowledges) {
  Rig rig;
  for (unsigned protocol = 0; protocol < 8; protocol++)
    for (bool read : {false, true}) EXPECT_EQ(rig.run(protocol, 0x51, read), kDeviceError);
}

TEST(SmbusHost, QuickFindsTheChip) {
  Rig rig;
  EXPECT_EQ(rig.run(0, 0x50, false), kInterrupt);
  EXPECT_EQ(rig.run(0, 0x50, true), kInterrupt);
}

TEST(SmbusHost, ByteDataReadsTheEeprom) {
  Rig rig;
  for (unsigned at = 0; at < 256; at++) {
    rig.out(3, static_cast<u8>(at));
    ASSERT_EQ(rig.run(2, 0x50, true), kInterrupt);
    EXPECT_EQ(rig.in(5), at ^ 0x5a);
  }
}

TEST(SmbusHost, SendAndReceiveByteGoOn) {
  Rig rig;
  rig.out(3, 0xfe);
  EXPECT_EQ(rig.run(1, 0x50, false), kInterrupt);
  for (unsigned at : {0xfeu, 0xffu, 0x00u}) {  // wraps
    EXPECT_EQ(rig.run(1, 0x50, true), kInterrupt);
    EXPECT_EQ(rig.in(5), at ^ 0x5a);
  }
}

TEST(SmbusHost, WordDataBothWays) {
  Rig rig;
  rig.out(3, 0x20);
  rig.out(5, 0x11);
  rig.out(6, 0x22);
  EXPECT_EQ(rig.run(3, 0x50, false), kInterrupt);
  rig.out(5, 0);
  rig.out(6, 0);
  EXPECT_EQ(rig.run(3, 0x50, true), kInterrupt);
  EXPECT_EQ(rig.in(5), 0x11);
  EXPECT_EQ(rig.in(6), 0x22);
}

TEST(SmbusHost, BlockCountsAreChecked) {
  Rig rig;
  rig.out(3, 0x40);
  for (unsigned count : {0u, 33u, 255u}) {
    rig.out(5, static_cast<u8>(count));
    EXPECT_EQ(rig.run(5, 0x50, false), kDeviceError) << count;
  }
  rig.out(5, 3);
  (void)rig.in(2);  // rewinds the block buffer
  for (u8 byte : {0xa1, 0xa2, 0xa3}) rig.out(7, byte);
  EXPECT_EQ(rig.run(5, 0x50, false), kInterrupt);
  rig.out(5, 0);
  EXPECT_EQ(rig.run(5, 0x50, true), kInterrupt);
  EXPECT_EQ(rig.in(5), 3);
  (void)rig.in(2);
  for (u8 byte : {0xa1, 0xa2, 0xa3}) EXPECT_EQ(rig.in(7), byte);
  for (unsigned i = 0; i < 100; i++) (void)rig.in(7);  // goes round
}

TEST(SmbusHost, ReservedProtocolsAreErrors) {
  Rig rig;
  for (unsigned protocol : {4u, 6u, 7u}) EXPECT_EQ(rig.run(protocol, 0x50, true), kDeviceError);
}

TEST(SmbusHost, InterruptFollowsEnableAndStatus) {
  Rig rig;
  rig.out(4, 0xa1);
  rig.out(2, 0x40);
  EXPECT_FALSE(rig.host.interrupt());
  rig.out(2, 0x41);
  EXPECT_TRUE(rig.host.interrupt());
  rig.out(0, kInterrupt);
  EXPECT_FALSE(rig.host.interrupt());
  rig.out(2, 0x03);  // KILL
  EXPECT_EQ(rig.in(0), 0x10);
  EXPECT_TRUE(rig.host.interrupt());
}

TEST(SmbusHost, OddSizesAreBytes) {
  Rig rig;
  rig.host.write({3, 4}, 0x4433'a122);  // command, address, data 0, data 1
  EXPECT_EQ(rig.host.read({2, 4}), 0x33a1'2200u);
  EXPECT_EQ(rig.host.read({5, 2}), 0x4433u);
  EXPECT_EQ(rig.host.read({8, 4}), 0u);
}

TEST(SmbusEeprom, RoundTrip) {
  Rig rig;
  rig.out(3, 0x20);
  rig.out(5, 0x99);
  rig.run(2, 0x50, false);
  SmbusEeprom twin("spd2", {});
  EXPECT_THAT(TestMachine::round_trip(*rig.eeprom, twin), IsEmpty());
  u8 byte = 0;
  ASSERT_TRUE(twin.read(std::span(&byte, 1)));
  EXPECT_EQ(byte, 0x21 ^ 0x5a);
}

}  // namespace
}  // namespace menura
