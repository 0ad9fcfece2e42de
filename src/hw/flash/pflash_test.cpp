// Expectations are from the 28F640J3 data sheet's command table and JESD68.01's query structure.
#include "hw/flash/pflash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "hw/core/device_conformance.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kSize = 64 * 1024;
constexpr u64 kBase = 0xfff0'0000;

// A medium in memory that completes when told to.
class SlowDisk final : public Disk {
 public:
  u64 size() const override { return content.size(); }
  bool read_only() const override { return locked; }
  void submit(DiskRequest request) override { waiting.push_back(std::move(request)); }
  void drain() override {
    while (!waiting.empty()) {
      const DiskRequest r = std::move(waiting.front());
      waiting.pop_front();
      writes += r.op == DiskOp::Write;
      const auto at = content.begin() + static_cast<ptrdiff_t>(r.offset);
      if (!broken && r.op == DiskOp::Read) std::copy_n(at, r.data.size(), r.data.begin());
      if (!broken && r.op == DiskOp::Write) std::ranges::copy(r.data, at);
      r.done(broken ? Result<void>(fail(Errc::Io, "Broken on purpose")) : Result<void>());
    }
  }
  std::vector<std::byte> content = std::vector<std::byte>(kSize, std::byte{0xff});
  std::deque<DiskRequest> waiting;
  bool locked = false, broken = false;
  int writes = 0;
};

struct Rig final : ConformanceRig {
  explicit Rig(bool locked = false) {
    disk.locked = locked;
    for (u64 i = 0; i < kSize; i++) disk.content[i] = static_cast<std::byte>(i * 7 + i / 256);
    block = RamBlock::create({.name = "flash", .size = kSize}).value();
    FlashStore::load(disk, *block).value();
    flash.emplace("flash", block, disk);
    machine.memory_root.map(kBase, flash->region());
    flash->reset(ResetKind::PowerOn);
  }
  Device& device() override { return *flash; }
  u8 in(u64 at) { return static_cast<u8>(machine.read_mem(kBase + at, 1)); }
  void out(u64 at, u8 value) { machine.write_mem(kBase + at, 1, value); }
  u8 original(u64 at) const { return static_cast<u8>(at * 7 + at / 256); }
  // Two cycles, the second at the same address.
  void out(u64 at, u8 first, u8 second) {
    out(at, first);
    out(at, second);
  }
  SlowDisk disk;
  std::shared_ptr<RamBlock> block;
  std::optional<Pflash> flash;
};

TEST(Pflash, ReadsTheMediumAfterReset) {
  Rig rig;
  for (const u64 at : {u64{0}, u64{1}, u64{0x1234}, kSize - 1})
    EXPECT_EQ(rig.in(at), rig.original(at));
  EXPECT_TRUE(rig.flash->region().direct_reads());
}

TEST(Pflash, ProgramClearsBitsOnly) {
  Rig rig;
  rig.out(0x2000, 0x20, 0xd0);  // erase
  EXPECT_FALSE(rig.flash->region().direct_reads());
  EXPECT_EQ(rig.in(0x2000), 0x80);  // status, all good
  rig.out(0, 0xff);
  for (u64 at = 0x2000; at < 0x3000; at += 0x111) EXPECT_EQ(rig.in(at), 0xff);
  EXPECT_EQ(rig.in(0x1fff), rig.original(0x1fff));
  EXPECT_EQ(rig.in(0x3000), rig.original(0x3000));
  for (const u8 code : {u8{0x10}, u8{0x40}}) {
    rig.out(0x2005, code, code == 0x10 ? 0x5a : 0xf0);
    EXPECT_EQ(rig.in(0x2005), 0x80);
  }
  rig.out(0, 0xff);
  EXPECT_EQ(rig.in(0x2005), 0x50);
}

TEST(Pflash, FirmwareTellsItFromRamAndRom) {
  Rig rig;
  // As UEFI firmware probes: neither does a command stay where it was written (RAM), nor is the
  // original byte seen after READ STATUS (ROM).
  rig.out(0, 0x50);
  EXPECT_EQ(rig.in(0), rig.original(0));
  rig.out(0, 0x70);
  EXPECT_EQ(rig.in(0), 0x00);
  rig.out(0, 0xff);
  EXPECT_EQ(rig.in(0), rig.original(0));
}

TEST(Pflash, IdentifiesItself) {
  Rig rig;
  rig.out(0x123, 0x90);
  EXPECT_EQ(rig.in(0), 0x89);
  EXPECT_EQ(rig.in(1), 0x17);
  EXPECT_EQ(rig.in(Pflash::kBlock), 0x89);
  rig.out(0x55, 0x98);
  EXPECT_EQ(rig.in(0x10), 'Q');
  EXPECT_EQ(rig.in(0x11), 'R');
  EXPECT_EQ(rig.in(0x12), 'Y');
  EXPECT_EQ(rig.in(0x13), 0x01);
  EXPECT_EQ(1u << rig.in(0x27), kSize);
  EXPECT_EQ(1u << rig.in(0x2a), Pflash::kBuffer);
  EXPECT_EQ(rig.in(0x2c), 1);
  const u64 blocks = (rig.in(0x2d) | rig.in(0x2e) << 8) + 1u;
  const u64 block = (rig.in(0x2f) | rig.in(0x30) << 8) * 256u;
  EXPECT_EQ(blocks * block, kSize);
  EXPECT_EQ(rig.in(0x31), 0);
}

TEST(Pflash, WritesItsBuffer) {
  Rig rig;
  rig.out(0x1000, 0x20, 0xd0);
  rig.out(0x1020, 0xe8);
  EXPECT_EQ(rig.in(0x1020), 0x80);  // the buffer is free
  rig.out(0x1020, 4);               // five bytes
  for (u8 i = 0; i < 5; i++) rig.out(0x1021 + i, static_cast<u8>(0xa0 + i));
  rig.out(0x1020, 0xd0);
  EXPECT_EQ(rig.in(0x1020), 0x80);
  rig.out(0, 0xff);
  EXPECT_EQ(rig.in(0x1020), 0xff);
  for (u8 i = 0; i < 5; i++) EXPECT_EQ(rig.in(0x1021 + i), 0xa0 + i);
  EXPECT_EQ(rig.in(0x1026), 0xff);
}

TEST(Pflash, RefusesWrongSequences) {
  Rig rig;
  rig.out(0x1000, 0x20, 0xff);
  EXPECT_EQ(rig.in(0), 0xb0);
  rig.out(0, 0x50);
  rig.out(0x1000, 0xe8, Pflash::kBuffer);  // one too many
  EXPECT_EQ(rig.in(0), 0xb0);
  rig.out(0, 0x50);
  rig.out(0x101e, 0xe8, 3);
  for (u64 at = 0x101e; at < 0x1021; at++) rig.out(at, 0);  // crosses the buffer's end
  EXPECT_EQ(rig.in(0), 0xb0);
  rig.out(0, 0xff);
  for (u64 at = 0x1000; at < 0x1040; at++) EXPECT_EQ(rig.in(at), rig.original(at));
}

TEST(Pflash, IsSavedInFewWrites) {
  Rig rig;
  rig.out(0x3000, 0x20, 0xd0);
  for (u64 at = 0x3000; at < 0x3400; at++) rig.out(at, 0x10, static_cast<u8>(at));
  rig.flash->pause();
  EXPECT_LE(rig.disk.writes, 3);
  for (u64 at = 0; at < kSize; at++)
    ASSERT_EQ(rig.disk.content[at], std::byte{rig.block->load<u8>(at)}) << at;
  EXPECT_EQ(rig.disk.content[0x3301], std::byte{0x01});
}

TEST(Pflash, ReadOnlyMediumRefuses) {
  Rig rig(true);
  rig.out(0x10, 0x40, 0x00);
  EXPECT_EQ(rig.in(0), 0x98);
  rig.out(0, 0x50);
  rig.out(0x10, 0x20, 0xd0);
  EXPECT_EQ(rig.in(0), 0xa8);
  rig.out(0, 0xff);
  EXPECT_EQ(rig.in(0x10), rig.original(0x10));
  rig.flash->pause();
  EXPECT_EQ(rig.disk.writes, 0);
}

TEST(Pflash, SurvivesABrokenMedium) {
  Rig rig;
  rig.disk.broken = true;
  rig.out(0x3000, 0x20, 0xd0);
  rig.flash->pause();
  EXPECT_EQ(rig.in(0), 0x80);
}

TEST(Pflash, RefusesAnotherSize) {
  SlowDisk disk;
  disk.content.resize(kSize / 2);
  const auto block = RamBlock::create({.name = "flash", .size = kSize}).value();
  EXPECT_FALSE(FlashStore::load(disk, *block));
}

TEST(Pflash, WideAccessesAreBytes) {
  Rig rig;
  rig.out(0x4000, 0x20, 0xd0);
  EXPECT_EQ(rig.machine.read_mem(kBase, 4), 0x8080'8080u);
  rig.out(0x4000, 0x40);
  rig.machine.write_mem(kBase + 0x4000, 4, 0x1234'5678);
  rig.out(0, 0xff);
  EXPECT_EQ(rig.machine.read_mem(kBase + 0x4000, 4), 0x1234'5678u);
}

// The content is the medium's, not the chip's state: a twin has the same only if nobody writes.
TEST(Pflash, ConformsAndSurvivesHostileStates) {
  EXPECT_THAT(conformance_problems([] { return std::make_unique<Rig>(true); }), IsEmpty());
  survive_hostile_states<Rig>();
}

TEST(Pflash, RoundTripInTheMiddleOfACommand) {
  Rig rig, twin;
  rig.out(0x1000, 0xe8, 7);
  for (u64 at = 0x1000; at < 0x1003; at++) rig.out(at, 0);
  EXPECT_THAT(TestMachine::round_trip(*rig.flash, *twin.flash), IsEmpty());
  for (u64 at = 0x1003; at < 0x1008; at++) twin.out(at, 0);
  twin.out(0x1000, 0xd0);
  twin.out(0, 0xff);
  for (u64 at = 0x1000; at < 0x1008; at++) EXPECT_EQ(twin.in(at), 0);
}

}  // namespace
}  // namespace menura
