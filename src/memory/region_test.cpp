#include "memory/region.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "memory/address_space.h"

namespace menura {
namespace {

std::shared_ptr<RamBlock> make_ram(u64 size) {
  return RamBlock::create({.name = "test.ram", .size = size}).value();
}

class Recorder final : public MmioHandler {
 public:
  u64 read(Access access) override {
    last = access;
    return 0x1122334455667788;
  }
  void write(Access access, u64 value) override {
    last = access;
    written = value;
    writes++;
  }
  Access last;
  u64 written = 0;
  unsigned writes = 0;
};

TEST(Region, HigherPriorityHidesAndLaterHidesEarlier) {
  Recorder handler;
  Region root = Region::container("root", Region::kWholeSpace);
  Region low = Region::mmio("low", 0x1000, handler);
  Region high = Region::mmio("high", 0x100, handler);
  Region late = Region::mmio("late", 0x100, handler);
  AddressSpace space("test", root);
  root.map(0x1000, low);
  root.map(0x1100, high, 1);
  root.map(0x1200, late);
  const auto at = [&](u64 addr) {
    const View view = space.view();
    const FlatRange* range = view->find({addr});
    return range ? range->region->name() : std::string("none");
  };
  EXPECT_EQ(at(0xfff), "none");
  EXPECT_EQ(at(0x1000), "low");
  EXPECT_EQ(at(0x1100), "high");
  EXPECT_EQ(at(0x11ff), "high");
  EXPECT_EQ(at(0x1200), "late");
  EXPECT_EQ(at(0x1300), "low");
  EXPECT_EQ(at(0x1fff), "low");
  EXPECT_EQ(at(0x2000), "none");
  high.set_enabled(false);
  EXPECT_EQ(at(0x1100), "low");
}

// The shape of a PC: RAM split by aliases around the PCI hole, a bus below with lower priority.
TEST(Region, PcShape) {
  Region root = Region::container("system", Region::kWholeSpace);
  Region ram = Region::ram("pc.ram", make_ram(64 * MiB));
  Region below = Region::alias("ram-below-4g", ram, 0, 48 * MiB);
  Region above = Region::alias("ram-above-4g", ram, 48 * MiB, 16 * MiB);
  Region pci = Region::container("pci", Region::kWholeSpace);
  Recorder handler;
  Region bar = Region::mmio("bar", 0x1000, handler);
  AddressSpace space("memory", root);
  root.map(0, below);
  root.map(4 * GiB, above);
  root.map(0, pci, -1);
  pci.map(0, bar);
  EXPECT_EQ(space.view()->ranges().size(), 2u) << print_flat_view(space, false);
  const u64 before = space.generation();
  {
    Transaction t(space);
    bar.set_address(0xfebf0000);
    bar.set_enabled(false);
    bar.set_enabled(true);
    EXPECT_EQ(space.generation(), before);
  }
  EXPECT_EQ(space.generation(), before + 1);
  space.store({4 * GiB + 8}, 4, 0x12345678);
  EXPECT_EQ(ram.ram_block()->load<u32>(48 * MiB + 8), 0x12345678u);
  space.store({0xfebf0010}, 4, 0xcafe);
  EXPECT_EQ(handler.written, 0xcafeu);
  EXPECT_EQ(handler.last.offset, 0x10u);
  EXPECT_EQ(space.load({0xd0000000}, 4), 0xffffffffu);
}

}  // namespace
}  // namespace menura
