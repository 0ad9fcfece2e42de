#include <gtest/gtest.h>

#include "base/bytes.h"
#include "hw/core/test_machine.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/ide/piix3_ide.h"
#include "hw/pci/pci_bus.h"
#include "io/memory_disk.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr u64 kSectors = 2048;
constexpr u16 kDisk = 0x1f0, kCd = 0x170;

struct Pc {
  Pc() {
    for (size_t i = 0; i < image.content.size(); i++)
      image.content[i] = static_cast<std::byte>(i / 512 * 7 + i % 251);
    for (size_t i = 0; i < cd_image.content.size(); i++)
      cd_image.content[i] = static_cast<std::byte>(i / 2048 * 3 + i % 241);
    ide.channel(0).plug(0, disk);
    ide.channel(1).plug(0, cd);
    bus.add(ide, PciBus::devfn(1, 1)).value();
    ide.reset(ResetKind::PowerOn);
    disk.reset(ResetKind::PowerOn);
    cd.reset(ResetKind::PowerOn);
    ide.config_write(0x40, 2, 0x8000);
    ide.config_write(0x42, 2, 0x8000);
    ide.config_write(0x20, 4, 0xc000);
    ide.config_write(0x04, 2, 0x0005);
  }
  TestMachine m;
  MemoryDisk image{kSectors * 512};
  MemoryDisk cd_image{64 * 2048};
  AtaDisk disk{"disk", image, {}};
  AtapiCd cd{"cd", cd_image, {}};
  Piix3Ide ide{"ide", {m.pin(14), m.pin(15)}, m.io_root};
  PciBus bus{
      "pci.0",
      PciRootWiring{
          .memory = m.memory, .io = m.io, .memory_window = m.memory_root, .io_window = m.io_root}};
};

struct IdeTest : testing::Test, Pc {
  void lba28(u32 lba, u8 count) {
    m.out8(0x1f2, count);
    m.out8(0x1f3, static_cast<u8>(lba));
    m.out8(0x1f4, static_cast<u8>(lba >> 8));
    m.out8(0x1f5, static_cast<u8>(lba >> 16));
    m.out8(0x1f6, static_cast<u8>(0xe0 | lba >> 24));
  }
  void lba48(u64 lba, u16 count) {
    m.out8(0x1f2, static_cast<u8>(count >> 8));
    m.out8(0x1f3, static_cast<u8>(lba >> 24));
    m.out8(0x1f4, static_cast<u8>(lba >> 32));
    m.out8(0x1f5, static_cast<u8>(lba >> 40));
    lba28(static_cast<u32>(lba & 0xff'ffff), static_cast<u8>(count));
  }
  void command(u8 code) { m.out8(0x1f7, code); }
  u8 status() { return m.in8(0x1f7); }
  u8 error() { return m.in8(0x1f1); }
  void srst() {
    m.out8(0x3f6, 0x04);
    m.out8(0x3f6, 0x00);
  }
  std::vector<std::byte> read_pio(size_t bytes, u16 base = kDisk) {
    std::vector<std::byte> data(bytes);
    for (size_t i = 0; i < bytes; i += 2) store_le(Bytes(data), i, m.in16(base));
    return data;
  }
  void write_pio(ConstBytes data, u16 base = kDisk) {
    for (size_t i = 0; i < data.size(); i += 2) m.out16(base, load_le<u16>(data, i));
  }
  ConstBytes sectors(u64 lba, u64 count) const {
    return ConstBytes(image.content).subspan(lba * 512, count * 512);
  }
  static bool same(ConstBytes a, ConstBytes b) { return std::ranges::equal(a, b); }
  std::vector<std::byte> ram(u64 at, size_t size) {
    std::vector<std::byte> bytes(size);
    m.ram->read(at, bytes);
    return bytes;
  }
  // A descriptor table at 1000h, for the channel with its registers at `base`.
  void table(std::initializer_list<std::pair<u32, u32>> pieces, u16 base = 0xc000) {
    u64 at = 0x1000;
    size_t left = pieces.size();
    for (const auto& [address, size] : pieces) {
      m.ram->store<u32>(at, address);
      m.ram->store<u32>(at + 4, (size & 0xffff) | (--left == 0 ? 0x8000'0000 : 0));
      at += 8;
    }
    m.out32(base + 4, 0x1000);
  }
  void packet(std::initializer_list<u8> bytes, u8 features = 0) {
    m.out8(0x171, features);
    m.out8(0x174, 0xfe);
    m.out8(0x175, 0xff);
    m.out8(0x176, 0xa0);
    m.out8(0x177, 0xa0);
    std::vector<std::byte> p(12);
    size_t i = 0;
    for (const u8 b : bytes) p[i++] = static_cast<std::byte>(b);
    write_pio(p, kCd);
  }
  std::vector<std::byte> packet_data() {
    return read_pio(static_cast<size_t>(m.in8(0x174) | m.in8(0x175) << 8), kCd);
  }
  // The unit attention after reset, out of the way.
  void settle_cd() {
    packet({0x00});
    packet({0x03, 0, 0, 0, 18});
    packet_data();
  }
};

TEST_F(IdeTest, Identify) {
  m.out8(0x1f6, 0xa0);
  command(0xec);
  EXPECT_TRUE(m.pin_level(14));
  EXPECT_EQ(status(), 0x58);
  EXPECT_FALSE(m.pin_level(14));
  const std::vector<std::byte> id = read_pio(512);
  EXPECT_EQ(status(), 0x50);
  EXPECT_EQ(load_le<u16>(id, 0) & 0x8000, 0) << "an ATA device";
  EXPECT_EQ(load_le<u32>(id, 120), kSectors);
  EXPECT_EQ(load_le<u64>(id, 200), kSectors);
  EXPECT_EQ(load_le<u16>(id, 166) & 0x0400, 0x0400) << "48-bit addresses";
  std::string model;
  for (size_t i = 54; i < 94; i += 2) {
    model += static_cast<char>(id[i + 1]);
    model += static_cast<char>(id[i]);
  }
  EXPECT_EQ(model, "MENURA HARDDISK                         ");
  u8 sum = 0;
  for (const std::byte b : id) sum = static_cast<u8>(sum + static_cast<u8>(b));
  EXPECT_EQ(sum, 0) << "the integrity word";
}

TEST_F(IdeTest, SignaturesAfterReset) {
  srst();
  m.out8(0x376, 0x04);
  m.out8(0x376, 0x00);
  EXPECT_EQ(error(), 0x01);
  EXPECT_EQ(m.in8(0x1f2) << 24 | m.in8(0x1f3) << 16 | m.in8(0x1f4) << 8 | m.in8(0x1f5), 0x01010000);
  EXPECT_EQ(m.in8(0x172) << 24 | m.in8(0x173) << 16 | m.in8(0x174) << 8 | m.in8(0x175), 0x010114eb);
}

TEST_F(IdeTest, AbsentDrives) {
  m.out8(0x1f6, 0xb0);
  EXPECT_EQ(status(), 0x00) << "device 0 answers for device 1";
  command(0xec);
  EXPECT_FALSE(m.pin_level(14));
}

TEST_F(IdeTest, ReadSectorsInterruptsForEach) {
  lba28(5, 3);
  command(0x20);
  for (u64 n = 0; n < 3; n++) {
    EXPECT_TRUE(m.pin_level(14));
    EXPECT_EQ(status(), 0x58);
    EXPECT_TRUE(same(read_pio(512), sectors(5 + n, 1)));
  }
  EXPECT_FALSE(m.pin_level(14));
  EXPECT_EQ(status(), 0x50);
}

TEST_F(IdeTest, ReadMultipleInBlocks) {
  lba28(0, 8);
  command(0xc4);
  EXPECT_EQ(status() & 0x01, 0x01) << "not set up";
  EXPECT_EQ(error(), 0x04);
  command(0xc6);
  EXPECT_EQ(status(), 0x50);
  lba28(1, 11);
  const unsigned before = m.pin_rises(14);
  command(0xc4);
  status();
  const std::vector<std::byte> first = read_pio(8 * 512);
  status();
  const std::vector<std::byte> rest = read_pio(3 * 512);
  EXPECT_EQ(m.pin_rises(14) - before, 2u);
  EXPECT_TRUE(same(first, sectors(1, 8)));
  EXPECT_TRUE(same(rest, sectors(9, 3)));
}

TEST_F(IdeTest, WriteSectorsAndFlush) {
  const std::vector<std::byte> data(2 * 512, std::byte{0x5a});
  lba28(100, 2);
  command(0x30);
  EXPECT_FALSE(m.pin_level(14)) << "no interrupt before the first block";
  EXPECT_EQ(status(), 0x58);
  write_pio(ConstBytes(data).first(512));
  EXPECT_TRUE(m.pin_level(14));
  EXPECT_EQ(status(), 0x58);
  write_pio(ConstBytes(data).last(512));
  EXPECT_EQ(status(), 0x50);
  EXPECT_TRUE(same(sectors(100, 2), data));
  command(0xe7);
  EXPECT_EQ(image.flushes, 1);
}

TEST_F(IdeTest, AddressesAtTheEnd) {
  lba48(kSectors - 1, 1);
  command(0x24);
  status();
  EXPECT_TRUE(same(read_pio(512), sectors(kSectors - 1, 1)));
  lba48(kSectors - 1, 2);
  command(0x24);
  EXPECT_EQ(status() & 0x09, 0x01);
  EXPECT_EQ(error(), 0x10);
  lba48(u64{1} << 47, 1);
  command(0x24);
  EXPECT_EQ(error(), 0x10);
  command(0x27);
  EXPECT_EQ(m.in8(0x1f3), (kSectors - 1) & 0xff);
}

TEST_F(IdeTest, CylinderHeadSector) {
  m.out8(0x1f2, 1);
  m.out8(0x1f3, 2);  // sector 2
  m.out8(0x1f4, 1);  // cylinder 1
  m.out8(0x1f5, 0);
  m.out8(0x1f6, 0xa3);  // head 3
  command(0x20);
  status();
  EXPECT_TRUE(same(read_pio(512), sectors((1 * 16 + 3) * 63 + 1, 1)));
  m.out8(0x1f3, 0);  // there is no sector 0
  m.out8(0x1f4, 0);
  m.out8(0x1f6, 0xa0);
  command(0x20);
  EXPECT_EQ(error(), 0x10);
}

TEST_F(IdeTest, DmaReadScatters) {
  table({{0x4000, 512}, {0x8000, 1024}});
  lba28(7, 3);
  command(0xc8);
  EXPECT_EQ(m.in8(0x3f6), 0x90) << "busy until the bus master starts";
  m.out8(0xc000, 0x09);
  EXPECT_EQ(m.in8(0xc002) & 0x07, 0x04) << "interrupt, not active, no error";
  EXPECT_TRUE(m.pin_level(14));
  EXPECT_EQ(status(), 0x50);
  EXPECT_TRUE(same(ram(0x4000, 512), sectors(7, 1)));
  EXPECT_TRUE(same(ram(0x8000, 1024), sectors(8, 2)));
  m.out8(0xc002, 0x04);
  EXPECT_EQ(m.in8(0xc002) & 0x04, 0);
}

TEST_F(IdeTest, DmaWriteExtFua) {
  std::vector<std::byte> data(512 * 300);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<std::byte>(i * 13 >> 3);
  m.ram->write(0x10000, data);
  table({{0x10000, 0}, {0x20000, 0}, {0x30000, static_cast<u32>(data.size() - 0x20000)}});
  lba48(1000, 300);
  command(0x3d);
  m.out8(0xc000, 0x01);
  EXPECT_EQ(status(), 0x50);
  EXPECT_TRUE(same(sectors(1000, 300), data));
  EXPECT_EQ(image.fuas, 1);
}

TEST_F(IdeTest, ShortTableAndBadMemoryLeaveTheDriveBusyButAlive) {
  table({{0x4000, 512}});
  lba28(0, 2);
  command(0xc8);
  m.out8(0xc000, 0x09);
  EXPECT_EQ(m.in8(0xc002) & 0x05, 0x00) << "neither active nor interrupting";
  table({{0xf000'0000, 1024}});
  m.out8(0xc000, 0x00);
  m.out8(0xc000, 0x09);
  EXPECT_EQ(m.in8(0xc002) & 0x02, 0x02) << "bus error";
  srst();
  EXPECT_EQ(status(), 0x50);
}

TEST_F(IdeTest, RestartingTheBusMasterDuringARequestDoesNotDoubleIt) {
  image.immediate = false;
  table({{0x4000, 1024}});
  lba28(3, 2);
  command(0xc8);
  for (int i = 0; i < 3; i++) {
    m.out8(0xc000, 0x00);
    m.out8(0xc000, 0x09);
  }
  EXPECT_EQ(image.waiting.size(), 1u);
  image.pump();
  EXPECT_EQ(status(), 0x50);
  EXPECT_TRUE(same(ram(0x4000, 1024), sectors(3, 2)));
}

TEST_F(IdeTest, ResetForgetsRequestsInFlight) {
  image.immediate = false;
  lba28(3, 2);
  command(0x20);
  EXPECT_EQ(status() & 0x80, 0x80);
  srst();
  image.pump();
  EXPECT_EQ(status(), 0x50);
  EXPECT_FALSE(m.pin_level(14));
}

// A new command after it must not be fed by the old one's request.
TEST_F(IdeTest, DeviceResetCutsOffARequestInFlight) {
  image.immediate = false;
  lba28(3, 2);
  command(0x20);
  EXPECT_EQ(status(), 0x90);
  command(0x08);
  EXPECT_EQ(status(), 0x51) << "a disk aborts the packet device's command";
  lba28(7, 1);
  command(0x20);
  image.pump();
  EXPECT_EQ(status(), 0x58);
  EXPECT_TRUE(same(read_pio(512), sectors(7, 1)));
  EXPECT_EQ(status(), 0x50);
}

TEST_F(IdeTest, StatesWithTransfersBeyondTheirBoundsAreRefused) {
  const auto loads = [](IdeDrive& drive, std::string_view field, u64 value) {
    StateTree tree = save_state(drive);
    for (StateTree& child : tree.children) {
      if (child.name == field) child.integer = value;
      if (child.name == field) child.bytes.resize(value);
    }
    return load_state(drive, tree).ok() && drive.restored().ok();
  };
  m.out8(0x176, 0xa0);
  m.out8(0x177, 0xa0);  // the CD drive waits for a packet
  EXPECT_TRUE(loads(cd, "device", 0xa0));
  EXPECT_FALSE(loads(cd, "buffer", 4096));
  lba28(kSectors - 1, 1);
  command(0x30);  // the disk waits for its last sector
  EXPECT_TRUE(loads(disk, "device", 0xe0));
  EXPECT_FALSE(loads(disk, "buffer", 1024));
}

TEST_F(IdeTest, MediaErrorsReachTheGuest) {
  image.broken = true;
  lba28(3, 2);
  command(0x20);
  EXPECT_EQ(status(), 0x51);
  EXPECT_EQ(error(), 0x40);
  image.readonly = true;
  command(0x30);
  EXPECT_EQ(error(), 0x04) << "writes to a read-only disk are aborted";
}

TEST_F(IdeTest, Trim) {
  m.ram->fill(0x5000, 512, std::byte{0});
  m.ram->store<u64>(0x5000, u64{2} << 48 | 10);
  m.ram->store<u64>(0x5008, u64{1} << 48 | 20);
  table({{0x5000, 512}});
  m.out8(0x1f1, 1);
  lba48(0, 1);
  command(0x06);
  m.out8(0xc000, 0x01);
  EXPECT_EQ(status(), 0x50);
  const std::vector<std::byte> zeros(1024);
  EXPECT_TRUE(same(sectors(10, 2), zeros));
  EXPECT_TRUE(same(sectors(20, 1), ConstBytes(zeros).first(512)));
  EXPECT_FALSE(same(sectors(12, 1), ConstBytes(zeros).first(512)));
}

TEST_F(IdeTest, EveryCommandCodeEndsOrWaits) {
  image.readonly = true;
  for (int code = 0; code < 256; code++) {
    srst();
    lba28(0, 1);
    command(static_cast<u8>(code));
    const u8 s = m.in8(0x3f6);
    EXPECT_TRUE((s & 0x80) == 0 || s == 0x90) << code;
  }
}

TEST_F(IdeTest, CdInquiryAndSense) {
  packet({0x00});
  EXPECT_EQ(m.in8(0x177), 0x51) << "unit attention after reset";
  EXPECT_EQ(m.in8(0x171) >> 4, 6);
  packet({0x03, 0, 0, 0, 18});
  EXPECT_EQ(m.in8(0x172), 0x02) << "data to the host";
  const std::vector<std::byte> sense = packet_data();
  EXPECT_EQ(static_cast<int>(sense[2]), 6);
  EXPECT_EQ(static_cast<int>(sense[12]), 0x29);
  EXPECT_EQ(m.in8(0x172), 0x03) << "done";
  packet({0x12, 0, 0, 0, 36});
  const std::vector<std::byte> inquiry = packet_data();
  EXPECT_EQ(static_cast<int>(inquiry[0]), 5);
  EXPECT_EQ(static_cast<int>(inquiry[1]), 0x80);
}

TEST_F(IdeTest, CdReadsByPioAndDma) {
  settle_cd();
  packet({0x25});
  const std::vector<std::byte> capacity = packet_data();
  EXPECT_EQ(load_be<u32>(capacity, 0), 63u);
  EXPECT_EQ(load_be<u32>(capacity, 4), 2048u);
  packet({0x28, 0, 0, 0, 0, 5, 0, 0, 2});
  EXPECT_TRUE(same(packet_data(), ConstBytes(cd_image.content).subspan(5 * 2048, 4096)));
  EXPECT_EQ(m.in8(0x177), 0x50);
  const size_t size = 40 * 2048;  // more than one piece of 64 KiB
  table({{0x9000, 0}, {0x19000, static_cast<u32>(size - 0x10000)}}, 0xc008);
  packet({0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 40}, 1);
  m.out8(0xc008, 0x09);
  EXPECT_EQ(m.in8(0x177), 0x50);
  EXPECT_EQ(m.in8(0xc00a) & 0x07, 0x04);
  EXPECT_TRUE(same(ram(0x9000, size), ConstBytes(cd_image.content).subspan(9 * 2048, size)));
}

TEST_F(IdeTest, CdRefuses) {
  settle_cd();
  packet({0x28, 0, 0, 0, 0, 63, 0, 0, 2});
  EXPECT_EQ(m.in8(0x177), 0x51);
  packet({0x03, 0, 0, 0, 18});
  EXPECT_EQ(static_cast<int>(packet_data()[12]), 0x21);
  packet({0xff});
  EXPECT_EQ(m.in8(0x171) >> 4, 5);
  cd_image.present = false;
  packet({0x00});
  EXPECT_EQ(m.in8(0x171) >> 4, 2);
}

TEST_F(IdeTest, EveryPacketEnds) {
  for (int code = 0; code < 256; code++) {
    for (const u8 f : {0x00, 0xff}) {
      packet({static_cast<u8>(code), f, f, f, f, f, f, f, f, f, f, f});
      for (int blocks = 0; (m.in8(0x177) & 0x08) && blocks < 5000; blocks++) packet_data();
      EXPECT_EQ(m.in8(0x177) & 0x88, 0) << code;
    }
  }
}

TEST_F(IdeTest, RoundTripInTheMiddleOfASector) {
  lba28(5, 3);
  command(0x20);
  read_pio(100);
  settle_cd();
  packet({0x28, 0, 0, 0, 0, 5, 0, 0, 2});
  read_pio(300, kCd);
  Pc other;
  EXPECT_EQ(TestMachine::round_trip(disk, other.disk), std::vector<std::string>{});
  EXPECT_EQ(TestMachine::round_trip(cd, other.cd), std::vector<std::string>{});
  EXPECT_EQ(TestMachine::round_trip(ide, other.ide), std::vector<std::string>{});
  EXPECT_EQ(other.m.in16(0x1f0), load_le<u16>(sectors(5, 1), 100));
}

}  // namespace
}  // namespace menura
