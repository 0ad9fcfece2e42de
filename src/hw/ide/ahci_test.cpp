// Expectations are from AHCI 1.3.1 (registers, structures, order of events) and Serial ATA 2.6
// (FISes, queued commands).
#include "hw/ide/ahci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bits.h"
#include "base/bytes.h"
#include "hw/ide/ata_disk.h"
#include "hw/ide/atapi_cd.h"
#include "hw/pci/pci_conformance.h"
#include "io/memory_disk.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kAbar = 0xfebf'0000;
constexpr u64 kList = 0x1'0000, kFis = 0x1'1000, kTables = 0x1'2000, kData = 0x10'0000;
constexpr u64 kTableStride = 0x1000;

enum Port : u64 { Clb = 0, Fb = 8, Is = 0x10, Ie = 0x14, Cmd = 0x18, Tfd = 0x20, Sig = 0x24 };
enum MorePort : u64 { Ssts = 0x28, Sctl = 0x2c, Serr = 0x30, Sact = 0x34, Ci = 0x38 };
enum Interrupts : u32 {
  Dhrs = 1,
  Pss = 2,
  Sdbs = 8,
  Dps = 0x20,
  Pcs = 0x40,
  Ofs = 1 << 24,
  Hbds = 1 << 28,
  Hbfs = 1 << 29,
  Tfes = 1 << 30
};

struct Piece {
  u64 at;
  u32 size;
  bool interrupt = false;
};

struct Pc : PciTestBus {
  Pc() {
    for (size_t i = 0; i < image.content.size(); i++)
      image.content[i] = static_cast<std::byte>(i / 512 * 7 + i % 251);
    for (size_t i = 0; i < cd_image.content.size(); i++)
      cd_image.content[i] = static_cast<std::byte>(i / 2048 * 3 + i % 241);
    ahci.port(0).plug(0, disk);
    ahci.port(3).plug(0, cd);
    bus.add(ahci, PciBus::devfn(0x1f, 2)).value();
    ahci.reset(ResetKind::PowerOn);
    disk.reset(ResetKind::PowerOn);
    cd.reset(ResetKind::PowerOn);
    ahci.config_write(0x24, 4, kAbar);
    ahci.config_write(0x04, 2, 0x0006);
    start(0);
    hba(0x04, 0x8000'0002);
  }
  ~Pc() { bus.remove(ahci); }

  u32 hba(u64 at) { return static_cast<u32>(machine.read_mem(kAbar + at, 4)); }
  void hba(u64 at, u32 value) { machine.write_mem(kAbar + at, 4, value); }
  u32 reg(u64 at) { return hba(0x100 + 0x80 * port + at); }
  void reg(u64 at, u32 value) { hba(0x100 + 0x80 * port + at, value); }
  void start(unsigned which) {
    port = which;
    reg(Clb, kList);
    reg(Fb, kFis);
    reg(Ie, ~0u);
    reg(Cmd, 0x10);
    reg(Serr, ~0u);
    reg(Is, ~0u);
    reg(Cmd, 0x11);
  }
  void table(unsigned slot, std::vector<u8> fis, const std::vector<Piece>& pieces, u32 flags = 0) {
    const u64 table = kTables + kTableStride * slot;
    machine.ram->store<u32>(kList + 32 * slot, static_cast<u32>(pieces.size()) << 16 | flags | 5);
    machine.ram->store<u32>(kList + 32 * slot + 4, 0);
    machine.ram->store<u64>(kList + 32 * slot + 8, table);
    fis.resize(20);
    machine.ram->write(table, std::as_bytes(std::span(fis)));
    for (size_t i = 0; i < pieces.size(); i++) {
      machine.ram->store<u64>(table + 0x80 + 16 * i, pieces[i].at);
      machine.ram->store<u32>(table + 0x8c + 16 * i,
                              (pieces[i].size - 1) | (pieces[i].interrupt ? 1u << 31 : 0));
    }
  }
  static std::vector<u8> command(u8 code, u64 lba = 0, u16 count = 0, u16 features = 0,
                                 u8 device = 0x40) {
    const auto b = [](u64 v, unsigned n) { return static_cast<u8>(v >> (8 * n)); };
    return {0x27,   0x80,      code,      b(features, 0), b(lba, 0),      b(lba, 1),   b(lba, 2),
            device, b(lba, 3), b(lba, 4), b(lba, 5),      b(features, 1), b(count, 0), b(count, 1),
            0,      0};
  }
  std::vector<std::byte> ram(u64 at, size_t size) {
    std::vector<std::byte> bytes(size);
    machine.ram->read(at, bytes);
    return bytes;
  }
  u32 moved(unsigned slot) { return machine.ram->load<u32>(kList + 32 * slot + 4); }
  ConstBytes sectors(u64 lba, u64 count) const {
    return ConstBytes(image.content).subspan(lba * 512, count * 512);
  }

  MemoryDisk image{2048 * 512};
  MemoryDisk cd_image{64 * 2048};
  AtaDisk disk{"disk", image, {.serial = "S1"}};
  AtapiCd cd{"cd", cd_image, {}};
  Ahci ahci{"ahci", "ide"};
  unsigned port = 0;
};

struct AhciTest : testing::Test, Pc {};

TEST_F(AhciTest, TellsWhatItIs) {
  EXPECT_EQ(ahci.config_read(0, 4), 0x2922'8086u);
  EXPECT_EQ(ahci.config_read(9, 1) | ahci.config_read(10, 2) << 8, 0x010601u);
  EXPECT_EQ(hba(0x00) & 0x1f, 5u);                  // six ports
  EXPECT_EQ(hba(0x00) >> 8 & 0x1f, 31u);            // 32 slots
  EXPECT_EQ(hba(0x00) & 0xc000'0000, 0xc000'0000);  // 64 bits, NCQ
  EXPECT_EQ(hba(0x0c), 0x3fu);
  EXPECT_EQ(hba(0x10), 0x0001'0301u);
  EXPECT_EQ(hba(0x04), 0x8000'0002u);
  EXPECT_EQ(reg(Ssts) & 0xf, 3u);
  EXPECT_EQ(reg(Sig), 0x0000'0101u);
  EXPECT_EQ(reg(Tfd), 0x0150u);
  port = 3;
  EXPECT_EQ(reg(Sig), 0xeb14'0101u);
  port = 1;
  EXPECT_EQ(reg(Ssts), 0u);
  EXPECT_EQ(reg(Sig), 0xffff'ffffu);
  EXPECT_EQ(reg(Tfd), 0x7fu);
}

TEST_F(AhciTest, SendsTheSignatureWhenTheHostReceives) {
  EXPECT_EQ(std::to_integer<u8>(ram(kFis + 0x40, 1)[0]), 0x34);
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x44), 1);
}

TEST_F(AhciTest, IdentifiesByPio) {
  table(0, command(0xec), {{kData, 512}});
  reg(Ci, 1);
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_EQ(reg(Is), u32{Pss});
  EXPECT_EQ(moved(0), 512u);
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x20), 0x5f);
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x2f), 0x50);  // E_STATUS
  EXPECT_EQ(machine.ram->load<u16>(kFis + 0x30), 512);
  EXPECT_EQ(reg(Tfd) & 0xff, 0x50u);
  const auto words = ram(kData, 512);
  EXPECT_EQ(load_le<u16>(words, 2 * 76) & 0x0100, 0x0100);  // NCQ
  EXPECT_EQ(load_le<u16>(words, 2 * 93), 0);                // no parallel cable
  EXPECT_EQ(load_le<u32>(words, 2 * 60), 2048u);
  EXPECT_TRUE(machine.pin_level(3));  // slot 1Fh's INTA#
  EXPECT_EQ(hba(0x08), 1u);
  reg(Is, ~0u);
  hba(0x08, 1);
  EXPECT_FALSE(machine.pin_level(3));
}

TEST_F(AhciTest, ReadsAndWritesByDmaThroughManyRegions) {
  table(5, command(0x25, 100, 6),
        {{kData, 514}, {kData + 0x1000, 2}, {kData + 0x2000, 2556, true}});
  reg(Ci, 1 << 5);
  EXPECT_EQ(reg(Is), u32{Dhrs | Dps});
  EXPECT_EQ(moved(5), 3072u);
  std::vector<std::byte> got = ram(kData, 514);
  for (const auto& [at, size] : {std::pair{kData + 0x1000, 2}, {kData + 0x2000, 2556}}) {
    const auto more = ram(at, size);
    got.insert(got.end(), more.begin(), more.end());
  }
  EXPECT_TRUE(std::ranges::equal(got, sectors(100, 6)));
  table(0, command(0x35, 7, 2), {{kData + 0x2000, 1024}});
  reg(Ci, 1);
  EXPECT_TRUE(std::ranges::equal(ram(kData + 0x2000, 1024), sectors(7, 2)));
}

TEST_F(AhciTest, PioWritesComeInBlocks) {
  table(0, command(0x34, 20, 3), {{kData, 1536}});
  for (u64 i = 0; i < 1536; i++) machine.ram->store<u8>(kData + i, static_cast<u8>(i * 3));
  reg(Ci, 1);
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_TRUE(std::ranges::equal(ram(kData, 1536), sectors(20, 3)));
  EXPECT_EQ(reg(Is) & Dhrs, u32{Dhrs});
}

TEST_F(AhciTest, WaitsForASlowDiskAndTakesSlotsInTurn) {
  image.immediate = false;
  table(0, command(0x25, 1, 1), {{kData, 512}});
  table(1, command(0x25, 2, 1), {{kData + 512, 512}});
  reg(Ci, 3);
  EXPECT_EQ(reg(Ci), 3u);
  EXPECT_EQ(reg(Tfd) & 0x80, 0x80u);
  image.pump();
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_TRUE(std::ranges::equal(ram(kData, 1024), sectors(1, 2)));
}

TEST_F(AhciTest, QueuedCommandsRunBesideEachOther) {
  image.immediate = false;
  for (u8 tag : {u8{3}, u8{9}}) {
    table(tag, command(0x60, tag, u16(tag << 3), 4), {{kData + 0x1000u * tag, 2048}});
    reg(Sact, 1u << tag);
    reg(Ci, 1u << tag);
  }
  EXPECT_EQ(image.waiting.size(), 2u);
  EXPECT_EQ(reg(Ci), 0u);  // taken, not done
  EXPECT_EQ(reg(Sact), 1u << 3 | 1u << 9);
  image.pump();
  EXPECT_EQ(reg(Sact), 0u);
  EXPECT_EQ(reg(Is), u32{Sdbs});
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x58), 0xa1);
  for (u8 tag : {u8{3}, u8{9}})
    EXPECT_TRUE(std::ranges::equal(ram(kData + 0x1000u * tag, 2048), sectors(tag, 4)));
  // A write of more than is moved at once, with FUA.
  image.immediate = true;
  table(0, command(0x61, 0, 0, 2047, 0xc0), {{kData, 2047 * 512}});
  reg(Sact, 1);
  reg(Ci, 1);
  EXPECT_EQ(reg(Sact), 0u);
  EXPECT_TRUE(std::ranges::equal(ram(kData, 2047 * 512), sectors(0, 2047)));
  EXPECT_EQ(image.fuas, 1);
}

TEST_F(AhciTest, AQueuedErrorStopsThePortAndIsLogged) {
  table(4, command(0x60, 2047, 4 << 3, 2), {{kData, 1024}});  // past the end
  reg(Sact, 1 << 4);
  reg(Ci, 1 << 4);
  EXPECT_EQ(reg(Is), u32{Sdbs | Tfes});
  EXPECT_EQ(reg(Sact), 1u << 4);
  EXPECT_EQ(reg(Tfd) & 1, 1u);
  reg(Is, ~0u);
  reg(Cmd, 0x10);
  EXPECT_EQ(reg(Sact), 0u);
  reg(Cmd, 0x11);
  table(0, command(0x2f, 0x10, 1), {{kData, 512}});
  reg(Ci, 1);
  const auto log = ram(kData, 512);
  EXPECT_EQ(std::to_integer<u8>(log[0]), 4);
  EXPECT_EQ(std::to_integer<u8>(log[4]) | std::to_integer<u8>(log[5]) << 8, 2047);
  u8 sum = 0;
  for (const std::byte byte : log) sum = static_cast<u8>(sum + std::to_integer<u8>(byte));
  EXPECT_EQ(sum, 0);
}

TEST_F(AhciTest, PacketsByPioAndDma) {
  start(3);
  table(0, command(0xa0, 0, 0, 0, 0), {{kData, 8}}, 1 << 5);
  machine.ram->store<u8>(kTables + 0x40, 0x25);  // READ CAPACITY meets the power-on attention
  reg(Ci, 1);
  EXPECT_EQ(reg(Is) & Tfes, u32{Tfes});
  EXPECT_EQ(reg(Ci), 1u);  // a failed command stays
  EXPECT_EQ(reg(Tfd) >> 12 & 0xf, 6u);
  reg(Is, ~0u);
  reg(Cmd, 0x10);
  reg(Cmd, 0x11);
  reg(Ci, 1);
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_EQ(load_be<u32>(ram(kData, 8), 0), 63u);
  EXPECT_EQ(reg(Is), u32{Dhrs | Pss});
  std::vector<u8> read{0x28, 0, 0, 0, 0, 5, 0, 0, 40, 0, 0, 0};
  table(1, command(0xa0, 0, 0, 1, 0), {{kData, 40 * 2048}}, 1 << 5);
  machine.ram->write(kTables + kTableStride + 0x40, std::as_bytes(std::span(read)));
  reg(Is, ~0u);
  reg(Ci, 2);
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_EQ(reg(Is), u32{Dhrs});
  EXPECT_TRUE(std::ranges::equal(ram(kData, 40 * 2048),
                                 ConstBytes(cd_image.content).subspan(5 * 2048, 40 * 2048)));
}

TEST_F(AhciTest, ShortTablesAndBadMemory) {
  table(0, command(0x25, 1, 2), {{kData, 512}});
  reg(Ci, 1);
  EXPECT_EQ(reg(Is), u32{Dhrs | Ofs});
  EXPECT_EQ(moved(0), 512u);
  reg(Is, ~0u);
  table(0, command(0x25, 1, 1), {{0xfff0'0000, 512}});
  reg(Ci, 1);
  EXPECT_EQ(reg(Is) & Hbds, u32{Hbds});
  reg(Is, ~0u);
  reg(Cmd, 0x10);
  reg(Clb, 0xfff0'0000);
  reg(Sctl, 1);
  reg(Sctl, 0);
  reg(Cmd, 0x11);
  reg(Ci, 1);
  EXPECT_EQ(reg(Is) & Hbfs, u32{Hbfs});
}

TEST_F(AhciTest, LinkAndSoftResets) {
  reg(Sctl, 0x301);
  EXPECT_EQ(reg(Ssts) & 0xf, 1u);
  reg(Sctl, 0x300);
  EXPECT_EQ(reg(Ssts) & 0xf, 3u);
  EXPECT_EQ(reg(Is) & Pcs, u32{Pcs});
  reg(Is, ~0u);
  EXPECT_EQ(reg(Is) & Pcs, u32{Pcs});  // only PxSERR clears it
  reg(Serr, ~0u);
  EXPECT_EQ(reg(Is) & Pcs, 0u);
  std::vector<u8> control(16);
  control[0] = 0x27;
  control[15] = 4;
  table(0, control, {});
  control[15] = 0;
  table(1, control, {});
  machine.ram->store<u8>(kFis + 0x40, 0);
  reg(Ci, 1);
  EXPECT_EQ(reg(Ci), 0u);
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x40), 0);
  reg(Ci, 2);
  EXPECT_EQ(machine.ram->load<u8>(kFis + 0x40), 0x34);
  EXPECT_EQ(reg(Tfd), 0x0150u);
}

TEST_F(AhciTest, AMessageAnEvent) {
  const unsigned msi = std::as_const(ahci).config().find_capability(0x05);
  ASSERT_NE(msi, 0u);
  ahci.config_write(msi + 4, 4, 0xfee0'0000);
  ahci.config_write(msi + 12, 2, 0x4041);
  ahci.config_write(msi + 2, 2, 1);
  table(0, command(0x25, 1, 1), {{kData, 512}});
  reg(Ci, 1);
  EXPECT_EQ(machine.take_msis().size(), 1u);
  reg(Is, ~0u);
  hba(0x08, 1);
  EXPECT_EQ(machine.take_msis().size(), 0u);
  reg(Ci, 1);
  hba(0x08, 1);  // let go of the controller's bit, not of the port's
  EXPECT_EQ(machine.take_msis().size(), 2u);
  EXPECT_FALSE(machine.pin_level(3));
}

TEST_F(AhciTest, ControllerReset) {
  reg(Ie, 1);
  hba(0x04, 0x8000'0001);
  EXPECT_EQ(hba(0x04), 0x8000'0000u);
  EXPECT_EQ(reg(Ie), 0u);
  EXPECT_EQ(reg(Clb), kList);
  EXPECT_EQ(reg(Cmd) & 0x11, 0u);
}

struct Rig final : PciConformanceRig {
  Rig() {
    ahci.port(0).plug(0, disk);
    ahci.port(1).plug(0, cd);
    plug(ahci, PciBus::devfn(0x1f, 2));
    disk.reset(ResetKind::PowerOn);
    cd.reset(ResetKind::PowerOn);
  }
  MemoryDisk image{256 * 512};
  MemoryDisk cd_image{64 * 2048};
  AtaDisk disk{"disk", image, {}};
  AtapiCd cd{"cd", cd_image, {}};
  Ahci ahci{"ahci", "ide"};
};

TEST(Ahci, Conforms) {
  PciTestBus rig;
  Ahci ahci{"ahci", "ide"};
  rig.bus.add(ahci, PciBus::devfn(0x1f, 2)).value();
  EXPECT_THAT(check_pci_function(ahci, {{0x44, 2}}), IsEmpty());
  EXPECT_THAT(conformance_problems<Rig>(), IsEmpty());
  survive_hostile_states<Rig>();
}

TEST_F(AhciTest, RoundTripInTheMiddleOfACommand) {
  Pc twin;
  image.immediate = false;
  table(0, command(0x25, 1, 1), {{kData, 512}});
  reg(Cmd, 0x11);
  EXPECT_THAT(TestMachine::round_trip(ahci, twin.ahci), IsEmpty());
  EXPECT_EQ(twin.reg(Clb), kList);
  image.pump();
}

}  // namespace
}  // namespace menura
