// How accesses reach handlers: every size, alignment and byte order against a plain array of bytes.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/units.h"
#include "memory/address_space.h"

namespace menura {
namespace {

constexpr u64 kBase = 0x1000;

std::shared_ptr<RamBlock> make_ram(u64 size) {
  return RamBlock::create({.name = "test.ram", .size = size}).value();
}

// Registers that are bytes in a row, seen in the handler's byte order.
class Store final : public MmioHandler {
 public:
  u64 read(Access access) override {
    seen.push_back(access);
    u64 value = 0;
    for (unsigned i = 0; i < access.size; i++)
      value |= u64{bytes.at(access.offset + i)} << (8 * place(i, access.size));
    return value;
  }
  void write(Access access, u64 value) override {
    seen.push_back(access);
    for (unsigned i = 0; i < access.size; i++)
      bytes.at(access.offset + i) = static_cast<u8>(value >> (8 * place(i, access.size)));
  }
  unsigned place(unsigned i, unsigned size) const {
    return order == ByteOrder::Little ? i : size - 1 - i;
  }

  std::array<u8, 32> bytes{};
  ByteOrder order = ByteOrder::Little;
  std::vector<Access> seen;
};

struct Case {
  u8 handler_min, handler_max;
  ByteOrder order;
};

class AccessMatrix : public testing::TestWithParam<Case> {};

TEST_P(AccessMatrix, EverySizeAndOffset) {
  const Case c = GetParam();
  Store store;
  store.order = c.order;
  Region root = Region::container("root", Region::kWholeSpace);
  Region region =
      Region::mmio("store", 32, store,
                   {.handler_min = c.handler_min, .handler_max = c.handler_max, .order = c.order});
  AddressSpace space("test", root);
  root.map(kBase, region);
  for (unsigned size : {1u, 2u, 4u, 8u}) {
    for (unsigned offset = 8; offset < 16; offset++) {
      for (size_t i = 0; i < 32; i++) store.bytes[i] = static_cast<u8>(0x80 + i);
      store.seen.clear();
      u64 expected = 0;
      for (unsigned i = 0; i < size; i++) expected |= u64{0x80 + offset + i} << (8 * i);
      EXPECT_EQ(space.load({kBase + offset}, size), expected) << size << " at " << offset;
      for (const Access& a : store.seen) {
        EXPECT_GE(a.size, c.handler_min);
        EXPECT_LE(a.size, c.handler_max);
      }
      store.seen.clear();
      const u64 value = 0x8899aabbccddeeff;
      space.store({kBase + offset}, size, value);
      for (unsigned i = 0; i < 32; i++) {
        const bool written = i >= offset && i < offset + size;
        const u8 now = static_cast<u8>(written ? value >> (8 * (i - offset)) : 0x80 + i);
        EXPECT_EQ(store.bytes[i], now) << size << " at " << offset << ", byte " << i;
      }
      for (const Access& a : store.seen) EXPECT_LE(a.size, c.handler_max);
      EXPECT_EQ(store.seen.size(), size > c.handler_max ? size / c.handler_max : 1u);
    }
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (u8 min : {1, 2, 4, 8})
    for (u8 max : {1, 2, 4, 8})
      for (ByteOrder order : {ByteOrder::Little, ByteOrder::Big})
        if (min <= max) cases.push_back({min, max, order});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Access, AccessMatrix, testing::ValuesIn(all_cases()));

struct AccessTest : testing::Test {
  Store store;
  Region root = Region::container("root", Region::kWholeSpace);
  AddressSpace space{"test", root};
};

TEST_F(AccessTest, ForbiddenSizesReadOnesAndAreDropped) {
  Region region =
      Region::mmio("r", 32, store, {.valid_min = 2, .valid_max = 4, .valid_unaligned = false});
  root.map(kBase, region);
  EXPECT_EQ(space.load({kBase}, 1), 0xffu);
  EXPECT_EQ(space.load({kBase}, 8), ~u64{0});
  EXPECT_EQ(space.load({kBase + 1}, 2), 0xffffu);
  EXPECT_EQ(space.load({kBase + 2}, 4), 0xffffffffu);
  space.store({kBase}, 1, 5);
  space.store({kBase}, 8, 5);
  space.store({kBase + 1}, 2, 5);
  EXPECT_TRUE(store.seen.empty());
  EXPECT_EQ(space.load({kBase + 2}, 2), 0u);
  EXPECT_EQ(space.load({kBase + 4}, 4), 0u);
  EXPECT_EQ(store.seen.size(), 2u);
  // A transfer of bytes is cut into what the region takes.
  store.seen.clear();
  std::array<std::byte, 8> bytes{};
  EXPECT_EQ(space.write({kBase}, bytes), AccessStatus::Ok);
  EXPECT_EQ(store.seen.size(), 2u);
  EXPECT_EQ(space.read({kBase + 1}, Bytes(bytes).first(1)), AccessStatus::Refused);
}

TEST_F(AccessTest, CrossesFromRamToRegistersToNothing) {
  Region ram = Region::ram("ram", make_ram(kPageSize));
  Region region = Region::mmio("r", 4, store);
  root.map(0, ram);
  root.map(kPageSize, region);
  store.bytes[0] = 0x11, store.bytes[1] = 0x22, store.bytes[2] = 0x33, store.bytes[3] = 0x44;
  ram.ram_block()->store<u8>(kPageSize - 1, 0xaa);
  EXPECT_EQ(space.load({kPageSize - 1}, 4), 0x332211aau);
  EXPECT_EQ(space.load({kPageSize + 2}, 4), 0xffff4433u);
  EXPECT_EQ(space.load({kPageSize - 1}, 8), 0xffffff44332211aau);
  space.store({kPageSize - 1}, 8, 0x8877665544332211);
  EXPECT_EQ(ram.ram_block()->load<u8>(kPageSize - 1), 0x11);
  EXPECT_EQ(store.bytes[0], 0x22);
  EXPECT_EQ(store.bytes[3], 0x55);
  std::array<std::byte, 16> bytes{};
  EXPECT_EQ(space.read({kPageSize - 4}, bytes), AccessStatus::Unmapped);
  EXPECT_EQ(bytes[3], std::byte{0x11});
  EXPECT_EQ(bytes[15], std::byte{0xff});
}

TEST_F(AccessTest, WrapsAtTheTopOfTheSpace) {
  Region ram = Region::ram("ram", make_ram(kPageSize));
  Region top = Region::alias("top", ram, 0, kPageSize);
  Region zero = Region::alias("zero", ram, 0, kPageSize);
  root.map(u64{0} - kPageSize, top);
  root.map(0, zero);
  ram.ram_block()->store<u8>(kPageSize - 1, 0x7f);
  ram.ram_block()->store<u8>(0, 0x12);
  EXPECT_EQ(space.load({~u64{0}}, 2), 0x127fu);
  space.store({~u64{0}}, 2, 0x3456);
  EXPECT_EQ(ram.ram_block()->load<u8>(0), 0x34);
}

TEST_F(AccessTest, RomDropsWritesAndReadonlyAliasToo) {
  auto block = make_ram(kPageSize);
  block->store<u32>(0, 0xfeedf00d);
  Region rom = Region::rom("rom", block);
  Region ram = Region::ram("ram", make_ram(kPageSize));
  Region pam = Region::alias("pam", ram, 0, kPageSize);
  root.map(0, rom);
  root.map(kPageSize, pam);
  space.store({0}, 4, 1);
  EXPECT_EQ(space.load({0}, 4), 0xfeedf00du);
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(space.write({0}, bytes), AccessStatus::Refused);
  space.store({kPageSize}, 4, 5);
  pam.set_readonly(true);
  space.store({kPageSize}, 4, 6);
  EXPECT_EQ(space.load({kPageSize}, 4), 5u);
  EXPECT_EQ(space.dma_write({kPageSize}, bytes), AccessStatus::Refused);
}

TEST_F(AccessTest, RomDeviceReadsDirectlyOrThroughItsHandler) {
  auto block = make_ram(kPageSize);
  block->store<u32>(4, 0x11223344);
  Region flash = Region::rom_device("flash", block, store);
  root.map(0, flash);
  EXPECT_EQ(space.load({4}, 4), 0x11223344u);
  EXPECT_TRUE(store.seen.empty());
  space.store({4}, 1, 0x90);
  EXPECT_EQ(store.bytes[4], 0x90);
  EXPECT_EQ(space.load({4}, 4), 0x11223344u);
  flash.set_direct_reads(false);
  EXPECT_EQ(space.load({4}, 4), 0x90u);
  EXPECT_FALSE(space.view()->find({0})->ram);
}

TEST_F(AccessTest, DmaReachesRamOnlyAndIsAllOrNothing) {
  Region ram = Region::ram("ram", make_ram(kPageSize));
  Region more = Region::ram("more", make_ram(kPageSize));
  Region region = Region::mmio("r", 32, store);
  root.map(0, ram);
  root.map(kPageSize, more);
  root.map(2 * kPageSize, region);
  std::array<std::byte, 32> bytes;
  bytes.fill(std::byte{0x5a});
  EXPECT_EQ(space.dma_write({kPageSize - 16}, bytes), AccessStatus::Ok);
  EXPECT_EQ(more.ram_block()->load<u8>(15), 0x5a);
  EXPECT_EQ(more.ram_block()->load<u8>(16), 0);
  EXPECT_EQ(space.dma_write({2 * kPageSize - 16}, bytes), AccessStatus::Refused);
  EXPECT_EQ(more.ram_block()->load<u8>(kPageSize - 1), 0) << "a part was written";
  EXPECT_EQ(space.dma_write({0x10000}, bytes), AccessStatus::Unmapped);
  EXPECT_EQ(space.dma_read({kPageSize - 16}, bytes), AccessStatus::Ok);
  EXPECT_EQ(bytes[0], std::byte{0x5a});
  EXPECT_EQ(space.dma_read({2 * kPageSize - 16}, bytes), AccessStatus::Refused);
  EXPECT_EQ(bytes[0], std::byte{0xff});
  EXPECT_TRUE(store.seen.empty());
}

u64 take(int fd) {
  eventfd_t count = 0;
  return ::eventfd_read(fd, &count) == 0 ? count : 0;
}

TEST_F(AccessTest, IoEventsSignalInsteadOfTheHandler) {
  const UniqueFd exact = make_eventfd().value();
  const UniqueFd any = make_eventfd().value();
  Region region = Region::mmio("doorbell", 32, store);
  root.map(kBase, region);
  region.add_io_event({.offset = 4, .size = 2, .value = 7, .fd = exact.get()});
  region.add_io_event({.offset = 8, .fd = any.get()});
  space.store({kBase + 4}, 2, 7);
  space.store({kBase + 4}, 2, 0x50007);  // the bits above the size do not count
  EXPECT_EQ(take(exact.get()), 2u);
  EXPECT_TRUE(store.seen.empty());
  space.store({kBase + 4}, 2, 8);
  space.store({kBase + 4}, 4, 7);
  space.store({kBase + 5}, 1, 7);
  EXPECT_EQ(take(exact.get()), 0u);
  EXPECT_EQ(store.seen.size(), 3u);
  for (unsigned size : {1u, 2u, 4u}) space.store({kBase + 8}, size, size);
  EXPECT_EQ(take(any.get()), 3u);
  EXPECT_EQ(store.seen.size(), 3u);
  region.set_address(kBase + 0x100);
  space.store({kBase + 0x108}, 1, 1);
  EXPECT_EQ(take(any.get()), 1u);
  region.remove_io_event({.offset = 8, .fd = any.get()});
  space.store({kBase + 0x108}, 1, 1);
  EXPECT_EQ(take(any.get()), 0u);
  EXPECT_EQ(store.seen.size(), 4u);
}

TEST_F(AccessTest, HiddenIoEventsAreNotInTheView) {
  const UniqueFd fd = make_eventfd().value();
  Region region = Region::mmio("doorbell", 32, store);
  Region cover = Region::mmio("cover", 8, store);
  root.map(kBase, region);
  region.add_io_event({.offset = 4, .size = 4, .fd = fd.get()});
  EXPECT_EQ(space.view()->io_events().size(), 1u);
  root.map(kBase + 6, cover, 1);  // half of it
  EXPECT_EQ(space.view()->io_events().size(), 0u);
  root.unmap(cover);
  ASSERT_EQ(space.view()->io_events().size(), 1u);
  EXPECT_EQ(space.view()->io_events()[0].addr, GuestAddr{kBase + 4});
}

TEST_F(AccessTest, CoalescedPartsAreClippedToWhatIsVisible) {
  Region region = Region::mmio("vga", 0x20000, store);
  Region cover = Region::mmio("cover", 0x1000, store);
  root.map(0xa0000, region);
  region.add_coalesced(0x8000, 0x10000);
  root.map(0xaa000, cover, 1);
  const View view = space.view();
  const std::vector<FlatCoalesced> parts(view->coalesced().begin(), view->coalesced().end());
  EXPECT_EQ(parts, (std::vector<FlatCoalesced>{{{0xa8000}, 0x2000}, {{0xab000}, 0xd000}}));
  region.clear_coalesced();
  EXPECT_TRUE(space.view()->coalesced().empty());
}

TEST_F(AccessTest, QueuedWritesArriveBeforeARegisterAccess) {
  Region region = Region::mmio("r", 32, store);
  Region ram = Region::ram("ram", make_ram(kPageSize));
  root.map(kBase, region);
  root.map(2 * kPageSize, ram);
  int drains = 0;
  space.before_register_access([&] {
    drains++;
    space.store({kBase + 1}, 1, 0x42);  // delivered as any other write, without draining again
  });
  (void)space.load({2 * kPageSize}, 4);
  EXPECT_EQ(drains, 0);
  EXPECT_EQ(space.load({kBase + 1}, 1), 0x42u);
  EXPECT_EQ(drains, 1);
}

TEST_F(AccessTest, AHandlerMayMoveItsOwnRegion) {
  struct Mover final : MmioHandler {
    u64 read(Access) override { return 0; }
    void write(Access, u64) override { region->set_address(region->address() + 0x10); }
    Region* region = nullptr;
  } mover;
  Region region = Region::mmio("bar", 0x10, mover, {.handler_max = 4});
  mover.region = &region;
  root.map(kBase, region);
  std::array<std::byte, 16> bytes{};
  // The first piece moves it away: the rest finds nothing.
  EXPECT_EQ(space.write({kBase}, bytes), AccessStatus::Unmapped);
  EXPECT_GE(region.address(), kBase + 0x10);
}

}  // namespace
}  // namespace menura
