// A stick and a hub as a host sees them, transaction by transaction.
#include "hw/usb/usb_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/units.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/scsi/test_disk.h"
#include "hw/usb/usb_hub.h"
#include "state/tree.h"

namespace menura {
namespace {

using Data = std::vector<std::byte>;

struct UsbStorageTest : testing::Test {
  UsbStorageTest() {
    auto drive =
        std::make_unique<ScsiDisk>("stick.drive", stick, ScsiDiskConfig{.serial = "S1"}, disk);
    stick.set_drive(std::move(drive));
    bus.plug(stick).value();
    stick.reset(ResetKind::PowerOn);
    request({0x00, 9, 1, 0, 0, 0, 0, 0});
  }
  Data request(std::array<u8, 8> setup) {
    stick.setup(bytes_of(setup));
    Data data(256);
    if (!(setup[0] & 0x80)) {
      stick.in(0, {});
      return {};
    }
    const UsbAnswer answer = stick.in(0, data);
    if (answer.status != UsbStatus::Ack) return {};
    data.resize(answer.length);
    stick.out(0, {});
    return data;
  }
  UsbStatus command(std::vector<u8> cdb, u32 length, bool to_host) {
    Data block(31);
    store_le<u32>(block, 0, 0x43425355);
    store_le<u32>(block, 4, ++tag);
    store_le<u32>(block, 8, length);
    block[12] = std::byte{u8(to_host ? 0x80 : 0)};
    block[14] = std::byte{u8(cdb.size())};
    for (size_t i = 0; i < cdb.size(); i++) block[15 + i] = std::byte{cdb[i]};
    return stick.out(2, block).status;
  }
  struct Status {
    u8 status;
    u32 residue;
    bool operator==(const Status&) const = default;
  };
  Status status() {
    Data block(13);
    const UsbAnswer answer = stick.in(1, block);
    EXPECT_EQ(answer.status, UsbStatus::Ack);
    EXPECT_EQ(answer.length, 13u);
    EXPECT_EQ(load_le<u32>(block, 0), 0x53425355u);
    EXPECT_EQ(load_le<u32>(block, 4), tag);
    return {load_le<u8>(block, 12), load_le<u32>(block, 8)};
  }
  // As a controller of 64-byte packets.
  Data read(size_t size) {
    Data all;
    for (;;) {
      Data packet(std::min<size_t>(64, size - all.size()));
      const UsbAnswer answer = stick.in(1, packet);
      if (answer.status != UsbStatus::Ack) return all;
      all.insert(all.end(), packet.begin(), packet.begin() + static_cast<ptrdiff_t>(answer.length));
      if (answer.length < packet.size() || all.size() == size) return all;
    }
  }
  void attention() {  // of the first command
    command({0, 0, 0, 0, 0, 0}, 0, false);
    EXPECT_EQ(status(), (Status{1, 0}));
    command({3, 0, 0, 0, 18, 0}, 18, true);
    const Data sense = read(18);
    ASSERT_EQ(sense.size(), 18u);
    EXPECT_EQ(load_le<u8>(sense, 2), 6) << "unit attention";
    EXPECT_EQ(load_le<u8>(sense, 12), 0x29);
    EXPECT_EQ(status(), (Status{0, 0}));
  }

  SlowDisk disk{64 * KiB};
  UsbBus bus{
      "usb.0", 2, UsbSpeed::High, {.changed = [](unsigned) {}, .woken = [this] { woken++; }}};
  UsbStorage stick{"stick", "S1"};
  u32 tag = 0x1000;
  int woken = 0;
};

TEST_F(UsbStorageTest, DescribesItselfForItsSpeed) {
  EXPECT_EQ(stick.speed(), UsbSpeed::High);
  const Data configuration = request({0x80, 6, 0, 2, 0, 0, 255, 0});
  ASSERT_EQ(configuration.size(), 32u);
  EXPECT_EQ(load_le<u16>(configuration, 2), 32u);
  EXPECT_EQ(load_le<u8>(configuration, 14), 8) << "mass storage";
  EXPECT_EQ(load_le<u8>(configuration, 15), 6) << "SCSI";
  EXPECT_EQ(load_le<u8>(configuration, 16), 0x50) << "bulk-only";
  EXPECT_EQ(load_le<u16>(configuration, 22), 512u);
  EXPECT_EQ(request({0xa1, 0xfe, 0, 0, 0, 0, 1, 0}), Data{std::byte{0}}) << "one unit";
  UsbBus fast("fast.0", 1, UsbSpeed::Super, {.changed = [](unsigned) {}});
  UsbStorage super("super", "1");
  fast.plug(super).value();
  EXPECT_EQ(super.speed(), UsbSpeed::Super);
}

TEST_F(UsbStorageTest, WritesAndReads) {
  attention();
  Data sectors(1024);
  for (size_t i = 0; i < sectors.size(); i++) sectors[i] = std::byte(i * 7);
  command({0x2a, 0, 0, 0, 0, 5, 0, 0, 2, 0}, 1024, false);
  for (size_t at = 0; at < 1024; at += 256)
    EXPECT_EQ(stick.out(2, ConstBytes(sectors).subspan(at, 256)).status, UsbStatus::Ack);
  EXPECT_EQ(disk.waiting(), 1u);
  Data packet(13);
  EXPECT_EQ(stick.in(1, packet).status, UsbStatus::Nak);
  EXPECT_EQ(command({0, 0, 0, 0, 0, 0}, 0, false), UsbStatus::Nak);
  const int before = woken;
  disk.complete();
  EXPECT_GT(woken, before);
  tag--;  // of the command that was not taken
  EXPECT_EQ(status(), (Status{0, 0}));
  EXPECT_TRUE(std::equal(sectors.begin(), sectors.end(), disk.content.begin() + 5 * 512));
  command({0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0}, 1024, true);
  disk.complete();
  EXPECT_EQ(read(1024), sectors);
  EXPECT_EQ(status(), (Status{0, 0}));
}

TEST_F(UsbStorageTest, TellsWhatWasNotMoved) {
  attention();
  command({0x12, 0, 0, 0, 255, 0}, 255, true);
  EXPECT_EQ(read(255).size(), 36u);
  EXPECT_EQ(status(), (Status{0, 255 - 36}));
  // A whole number of packets is ended by an empty one.
  command({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 1024, true);
  disk.complete();
  EXPECT_EQ(read(1024).size(), 512u);
  EXPECT_EQ(status(), (Status{0, 512}));
  // Beyond the end: nothing comes.
  command({0x28, 0, 0, 0, 1, 0, 0, 0, 1, 0}, 512, true);
  EXPECT_EQ(read(512).size(), 0u);
  EXPECT_EQ(status(), (Status{1, 512}));
}

TEST_F(UsbStorageTest, NonsenseHaltsItUntilAReset) {
  attention();
  Data nonsense(31);
  EXPECT_EQ(stick.out(2, nonsense).status, UsbStatus::Stall);
  Data packet(13);
  EXPECT_EQ(stick.in(1, packet).status, UsbStatus::Stall);
  request({0x02, 1, 0, 0, 0x81, 0, 0, 0});
  request({0x02, 1, 0, 0, 0x02, 0, 0, 0});
  EXPECT_EQ(command({0, 0, 0, 0, 0, 0}, 0, false), UsbStatus::Stall) << "still broken";
  request({0x21, 0xff, 0, 0, 0, 0, 0, 0});
  request({0x02, 1, 0, 0, 0x81, 0, 0, 0});
  request({0x02, 1, 0, 0, 0x02, 0, 0, 0});
  EXPECT_EQ(command({0, 0, 0, 0, 0, 0}, 0, false), UsbStatus::Ack);
  EXPECT_EQ(status(), (Status{0, 0}));
}

TEST_F(UsbStorageTest, AResetForgetsWhatIsUnderWay) {
  attention();
  command({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 512, true);
  stick.bus_reset();
  EXPECT_EQ(disk.waiting(), 0u);
  request({0x00, 9, 1, 0, 0, 0, 0, 0});
  attention();
}

TEST_F(UsbStorageTest, SavesATransferHalfWay) {
  attention();
  command({0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0}, 1024, true);
  stick.pause();
  Data half(512);
  ASSERT_EQ(stick.in(1, half).status, UsbStatus::Ack);
  const StateTree state = save_state(stick, "stick", 1);
  SlowDisk other_disk(64 * KiB);
  UsbStorage other("stick", "S1");
  other.set_drive(std::make_unique<ScsiDisk>("stick.drive", other, ScsiDiskConfig{}, other_disk));
  ASSERT_TRUE(load_state(other, state));
  ASSERT_TRUE(other.restored());
  EXPECT_EQ(other.in(1, half).length, 512u);
  Data block(13);
  EXPECT_EQ(other.in(1, block).length, 13u);
}

TEST(UsbHub, ShowsWhatIsBehindIt) {
  int woken = 0;
  UsbBus bus("usb.0", 1, UsbSpeed::Super, {.changed = [](unsigned) {}, .woken = [&] { woken++; }});
  UsbHub hub("hub");
  bus.plug(hub).value();
  SlowDisk disk(64 * KiB);
  UsbStorage stick("stick", "1");
  hub.downstream()->plug(stick, 2).value();
  EXPECT_EQ(stick.speed(), UsbSpeed::Full);
  const auto ask = [&](std::array<u8, 8> setup) {
    hub.setup(bytes_of(setup));
    Data data(64);
    const UsbAnswer answer = setup[0] & 0x80 ? hub.in(0, data) : hub.in(0, {});
    data.resize(answer.status == UsbStatus::Ack ? answer.length : 0);
    if (setup[0] & 0x80) hub.out(0, {});
    return data;
  };
  ask({0x00, 9, 1, 0, 0, 0, 0, 0});
  const Data descriptor = ask({0xa0, 6, 0, 0x29, 0, 0, 64, 0});
  ASSERT_EQ(descriptor.size(), 9u);
  EXPECT_EQ(load_le<u8>(descriptor, 2), 8) << "ports";
  Data change(2);
  EXPECT_EQ(hub.in(1, change).status, UsbStatus::Nak) << "no power";
  ask({0x23, 3, 8, 0, 3, 0, 0, 0});
  EXPECT_EQ(hub.in(1, change).status, UsbStatus::Ack);
  EXPECT_EQ(load_le<u16>(change), 1u << 3);
  EXPECT_GT(woken, 0);
  EXPECT_EQ(load_le<u32>(ask({0xa3, 0, 0, 0, 3, 0, 4, 0})), 0x0001'0101u);
  EXPECT_EQ(hub.find(0), &hub);
  hub.setup(bytes_of(std::array<u8, 8>{0, 5, 4, 0, 0, 0, 0, 0}));
  hub.in(0, {});
  EXPECT_EQ(hub.find(0), nullptr) << "the port is not enabled";
  ask({0x23, 3, 4, 0, 3, 0, 0, 0});
  EXPECT_EQ(load_le<u32>(ask({0xa3, 0, 0, 0, 3, 0, 4, 0})), 0x0011'0103u);
  EXPECT_EQ(hub.find(0), &stick);
  ask({0x23, 1, 16, 0, 3, 0, 0, 0});
  ask({0x23, 1, 20, 0, 3, 0, 0, 0});
  EXPECT_EQ(hub.in(1, change).status, UsbStatus::Nak);
}

}  // namespace
}  // namespace menura
