#include "memory/address_space.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/units.h"

namespace menura {
namespace {

std::shared_ptr<RamBlock> make_ram(u64 size) {
  return RamBlock::create({.name = "test.ram", .size = size}).value();
}

struct Quiet final : MmioHandler {
  u64 read(Access) override { return 0; }
  void write(Access, u64) override {}
};

struct Listener final : MemoryListener {
  explicit Listener(std::vector<std::string>& log, std::string name = "l", int order = 0)
      : log_(log), name_(std::move(name)), order_(order) {}
  int order() const override { return order_; }
  void changed(const FlatView& before, const FlatView& after) override {
    log_.push_back(name_ + " " + std::to_string(before.ranges().size()) + ">" +
                   std::to_string(after.ranges().size()));
    if (on_change) on_change();
  }
  std::function<void()> on_change;

 private:
  std::vector<std::string>& log_;
  std::string name_;
  int order_;
};

using Log = std::vector<std::string>;

struct AddressSpaceTest : testing::Test {
  Quiet handler;
  Region root = Region::container("root", Region::kWholeSpace);
  AddressSpace space{"test", root};
  Log log;
};

TEST_F(AddressSpaceTest, ListenersHearOncePerTransactionInTheirOrder) {
  Region a = Region::mmio("a", 16, handler);
  Region b = Region::mmio("b", 16, handler);
  root.map(0, a);
  Listener late(log, "late", 10);
  Listener early(log, "early", -10);
  space.add_listener(late);
  space.add_listener(early);
  EXPECT_EQ(log, (Log{"late 0>1", "early 0>1"}));
  log.clear();
  {
    Transaction outer(space);
    root.map(0x100, b);
    {
      Transaction inner(space);
      a.set_address(0x200);
    }
    EXPECT_TRUE(log.empty());
  }
  EXPECT_EQ(log, (Log{"early 1>2", "late 1>2"}));
  log.clear();
  {
    Transaction t(space);
    b.set_enabled(false);
    b.set_enabled(true);
  }
  a.set_enabled(true);
  EXPECT_TRUE(log.empty()) << "nothing has changed";
  space.remove_listener(late);
  b.set_enabled(false);
  EXPECT_EQ(log, (Log{"early 2>1"}));
  space.remove_listener(early);
}

TEST_F(AddressSpaceTest, AListenerMayChangeTheMapAndAllSeeTheSameViews) {
  Region a = Region::mmio("a", 16, handler);
  Region b = Region::mmio("b", 16, handler);
  root.map(0x10, b);
  b.set_enabled(false);
  Listener first(log, "first");
  Listener second(log, "second", 1);
  space.add_listener(first);
  space.add_listener(second);
  log.clear();
  first.on_change = [&] { b.set_enabled(true); };
  root.map(0x100, a);
  EXPECT_EQ(log, (Log{"first 0>1", "second 0>1", "first 1>2", "second 1>2"}));
  space.remove_listener(first);
  space.remove_listener(second);
}

TEST_F(AddressSpaceTest, ChangesBelowAliasesReachEverySpaceAbove) {
  Region bus_root = Region::container("bus", Region::kWholeSpace);
  Region alias = Region::alias("all", root, 0, Region::kWholeSpace);
  Region second = Region::alias("again", alias, 0, Region::kWholeSpace);
  bus_root.map(0, second);
  AddressSpace bus("bus", bus_root);
  Region inner = Region::container("inner", 0x1000);
  Region a = Region::mmio("a", 16, handler);
  root.map(0x8000, inner);
  inner.map(0x10, a);
  EXPECT_TRUE(bus.view()->find({0x8010}));
  a.set_address(0x20);
  EXPECT_FALSE(bus.view()->find({0x8010}));
  EXPECT_TRUE(bus.view()->find({0x8020}));
  EXPECT_TRUE(space.view()->find({0x8020}));
  alias.set_alias_offset(0x8000);
  EXPECT_TRUE(bus.view()->find({0x20}));
  // A transaction of one space does not hold back the other.
  Transaction t(space);
  a.set_enabled(false);
  EXPECT_FALSE(bus.view()->find({0x20}));
  EXPECT_TRUE(space.view()->find({0x8020}));
}

// i440FX PAM: segments of the legacy area show RAM, read-only RAM, or the bus.
TEST_F(AddressSpaceTest, PamSegmentsJoinAndPart) {
  Region ram = Region::ram("pc.ram", make_ram(2 * MiB));
  Region low = Region::alias("ram-below-4g", ram, 0, 2 * MiB);
  Region vga = Region::mmio("vga", 0x20000, handler);
  Region pam0 = Region::alias("pam0", ram, 0xc0000, 0x4000);
  Region pam1 = Region::alias("pam1", ram, 0xc4000, 0x4000);
  root.map(0, low);
  root.map(0xa0000, vga, 1);
  root.map(0xc0000, pam0, 1);
  root.map(0xc4000, pam1, 1);
  EXPECT_EQ(space.view()->ranges().size(), 3u) << print_flat_view(space, false);
  pam1.set_readonly(true);
  EXPECT_EQ(space.view()->ranges().size(), 5u) << print_flat_view(space, false);
  EXPECT_TRUE(space.view()->find({0xc4000})->readonly);
  EXPECT_FALSE(space.view()->find({0xc3fff})->readonly);
  EXPECT_FALSE(space.view()->find({0xc8000})->readonly);
}

TEST_F(AddressSpaceTest, TrackingShowsInTheView) {
  Region ram = Region::ram("ram", make_ram(MiB));
  root.map(0, ram);
  ram.track_dirty(DirtyClient::Display, true);
  EXPECT_EQ(space.view()->find({0})->dirty_clients, 1u);
  space.store({0x5000}, 4, 1);
  EXPECT_TRUE(ram.ram_block()->is_dirty(DirtyClient::Display, 0x5000));
  std::array<std::byte, 2> bytes{};
  EXPECT_EQ(space.dma_write({0x6fff}, bytes), AccessStatus::Ok);
  EXPECT_TRUE(ram.ram_block()->is_dirty(DirtyClient::Display, 0x7000));
  ram.track_dirty(DirtyClient::Display, false);
  EXPECT_EQ(space.view()->find({0})->dirty_clients, 0u);
}

TEST_F(AddressSpaceTest, RamOutlivesItsRegionInAView) {
  View view;
  {
    Region ram = Region::ram("ram", make_ram(MiB));
    root.map(0, ram);
    view = space.view();
  }
  EXPECT_TRUE(space.view()->ranges().empty());
  view->ranges()[0].ram->store<u8>(0, 1);
}

TEST_F(AddressSpaceTest, DeepNestingOfAliases) {
  std::vector<std::unique_ptr<Region>> chain;
  Region a = Region::mmio("a", 16, handler);
  Region* below = &a;
  for (int i = 0; i < 500; i++) {
    chain.emplace_back(new Region(Region::alias("alias", *below, 0, 16)));
    below = chain.back().get();
  }
  root.map(0x40, *below);
  EXPECT_EQ(space.view()->find({0x48})->region, &a);
  while (!chain.empty()) chain.pop_back();
}

TEST(AddressSpaceDeathTest, CirclesAreOurBug) {
  Region outer = Region::container("outer", 16);
  Region inner = Region::container("inner", 16);
  Region alias = Region::alias("alias", outer, 0, 16);
  outer.map(0, inner);
  EXPECT_DEATH(inner.map(0, alias), "inside itself");
  EXPECT_DEATH(inner.map(0, outer), "inside itself");
}

TEST_F(AddressSpaceTest, PrintsLikeInfoMtree) {
  Region ram = Region::ram("pc.ram", make_ram(2 * MiB));
  Region low = Region::alias("ram-below-4g", ram, 0, 2 * MiB);
  Region pci = Region::container("pci", Region::kWholeSpace);
  Region bar = Region::mmio("vga.bar0", 0x1000, handler);
  Region pam = Region::alias("pam-pci", pci, 0xc0000, 0x4000);
  bar.set_owner("vga");
  pam.set_enabled(false);
  root.map(0, low);
  root.map(0, pci, -1);
  root.map(0xc0000, pam, 1);
  pci.map(0xfebf0000, bar);
  EXPECT_EQ(print_region_tree(space, true),
            "address-space: test\n"
            "  0000000000000000-ffffffffffffffff (prio 0, container): root\n"
            "    0000000000000000-00000000001fffff (prio 0, ram): alias ram-below-4g @pc.ram "
            "0000000000000000-00000000001fffff\n"
            "    0000000000000000-ffffffffffffffff (prio -1, container): pci\n"
            "      00000000febf0000-00000000febf0fff (prio 0, i/o): vga.bar0 owner:vga\n"
            "    00000000000c0000-00000000000c3fff (prio 1, container): alias pam-pci @pci "
            "00000000000c0000-00000000000c3fff [disabled]\n"
            "\n"
            "memory-region: pc.ram\n"
            "  0000000000000000-00000000001fffff (prio 0, ram): pc.ram\n");
  low.set_alias_offset(0x1000);
  low.set_readonly(true);
  bar.add_io_event({.offset = 4, .size = 2, .value = 1, .fd = 0});
  bar.add_coalesced(0x800, 0x10);
  EXPECT_EQ(print_flat_view(space, true),
            "flat view: test, root root, generation " + std::to_string(space.generation()) +
                "\n"
                "  0000000000000000-00000000001fefff (prio 0, rom): pc.ram @0000000000001000\n"
                "  00000000febf0000-00000000febf0fff (prio 0, i/o): vga.bar0 owner:vga\n"
                "  ioeventfd 00000000febf0004 size 2 value 0x1\n"
                "  coalesced 00000000febf0800-00000000febf080f\n");
}

// A guest moves a BAR and flips a PAM register while other vCPUs read RAM without any lock.
TEST_F(AddressSpaceTest, ReadersWhileABarMoves) {
  Region ram = Region::ram("ram", make_ram(MiB));
  Region pam = Region::alias("pam", ram, 0x40000, 0x10000);
  Region bar = Region::mmio("bar", 0x1000, handler);
  ram.track_dirty(DirtyClient::Migration, true);
  root.map(0, ram);
  root.map(0x80000, pam, 1);
  root.map(0xe0000, bar, 1);
  for (u64 at = 0; at < MiB; at += kPageSize) ram.ram_block()->store<u64>(at, at);
  std::atomic<bool> stop{false};
  std::atomic<u64> reads{0};
  const auto read_ram = [&] {
    u64 generation = ~u64{0};
    View view;
    while (!stop.load(std::memory_order_relaxed)) {
      for (u64 at = 0; at < 0x40000; at += kPageSize) {
        ASSERT_EQ(space.load({at}, 8), at);
        if (generation != space.generation()) {
          view = space.view();
          generation = view->generation();
        }
        const FlatRange* range = view->find({0x80000 + at % 0x10000});
        ASSERT_TRUE(range);
        const u64 expected = range->offset_of({0x80000 + at % 0x10000});
        ASSERT_EQ(range->ram->load<u64>(expected), expected);
        space.store({0xc0000 + at % 0x10000}, 4, 1);
        reads.fetch_add(1, std::memory_order_relaxed);
      }
    }
  };
  std::thread first(read_ram);
  std::thread second(read_ram);
  for (int i = 0; i < 2000 || reads < 1000; i++) {
    Transaction t(space);
    bar.set_address(0xe0000 + static_cast<u64>(i % 16) * 0x1000);
    pam.set_enabled(i % 3 != 0);
    if (i % 8 == 0) (void)ram.ram_block()->take_dirty(DirtyClient::Migration, 0, MiB);
  }
  stop = true;
  first.join();
  second.join();
  EXPECT_GT(space.generation(), 1000u);
}

}  // namespace
}  // namespace menura
