// The rings, the PCI transport and the disk, driven from the specification's driver side.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/scsi/test_disk.h"
#include "hw/virtio/test_driver.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kBar4 = 0xc000'0000, kMsiX = 0xd000'0000;
constexpr u16 kPorts = 0xc000;
constexpr u64 kRings = 0x10000, kHeaders = 0x40000, kData = 0x100000;
constexpr u64 kEverything = virtio::kVersion1 | virtio::kRingIndirect | virtio::kRingEventIndex;

struct BlkRig : PciTestBus {
  explicit BlkRig(VirtioBlkConfig config = {}, VirtioOptions options = {}, unsigned vectors = 0)
      : card("blk", std::make_unique<VirtioBlk>(disk, config),
             {.virtio = options, .vectors = vectors}, {.time = machine.time}) {
    bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    program();
  }
  ~BlkRig() { bus.remove(card); }
  void program() {
    card.config_write(pci::kBar0, 4, kPorts);
    card.config_write(pci::kBar0 + 4, 4, kMsiX);
    card.config_write(pci::kBar0 + 16, 4, kBar4);
    card.config_write(pci::kCommand, 2, 7);
  }
  // A request's header; its place.
  u64 header(u32 type, u64 sector) {
    const u64 at = kHeaders + 32 * u64{headers++ % 512};
    machine.write_mem(at, 4, type);
    machine.write_mem(at + 4, 4, 0);
    machine.write_mem(at + 8, 8, sector);
    machine.write_mem(at + 16, 1, 0xff);
    return at;
  }
  const ConfigSpace& config() { return std::as_const(card).config(); }
  // The last of the vendor's capabilities: access by configuration space.
  unsigned access_capability() {
    unsigned found = 0;
    for (unsigned cap = config().get8(0x34); cap != 0; cap = config().get8(cap + 1))
      if (config().get8(cap) == pci::kCapVendor && config().get8(cap + 3) == 5) found = cap;
    return found;
  }
  u8 status_of(u64 header) { return static_cast<u8>(machine.read_mem(header + 16, 1)); }

  SlowDisk disk{4 * MiB};
  VirtioPci card;
  TestPciDriver driver{machine, kBar4};
  unsigned headers = 0;
};

VirtioOptions everything() {
  VirtioOptions options;
  options.packed = options.in_order = options.iommu_platform = options.notification_data = true;
  return options;
}

TEST(VirtioPci, Conforms) {
  BlkRig rig;
  // pci_cfg_data reads what the rest of its capability points to.
  const unsigned data = rig.access_capability() + 16;
  EXPECT_THAT(check_pci_function(rig.card, {{data, 4}}), IsEmpty());
}

struct ConformanceBlk final : PciConformanceRig {
  ConformanceBlk() { plug(card, PciBus::devfn(3, 0)); }
  ~ConformanceBlk() override { bus.remove(card); }
  SlowDisk disk{1 * MiB};
  VirtioPci card{"blk",
                 std::make_unique<VirtioBlk>(disk, VirtioBlkConfig{.num_queues = 3}),
                 {.virtio = everything(), .vectors = 4},
                 {.time = machine.time}};
};

TEST(VirtioPci, IsADevice) {
  EXPECT_THAT(conformance_problems<ConformanceBlk>(), IsEmpty());
  survive_hostile_states<ConformanceBlk>();
}

TEST(VirtioPci, RefusesFeaturesThatWereNotOffered) {
  BlkRig rig;
  EXPECT_FALSE(rig.driver.offered() & virtio::kRingPacked);
  EXPECT_FALSE(rig.driver.negotiate(kEverything | virtio::kRingPacked));
  EXPECT_FALSE(rig.driver.negotiate(virtio::kRingIndirect)) << "VERSION_1 is a must";
  EXPECT_TRUE(rig.driver.negotiate(kEverything));
}

TEST(VirtioPci, DemandsThePlatformsAddressesWhenToldTo) {
  BlkRig rig({}, everything());
  EXPECT_FALSE(rig.driver.negotiate(kEverything));
  EXPECT_TRUE(rig.driver.negotiate(kEverything | virtio::kAccessPlatform));
}

TEST(VirtioPci, TheLegacyPortsShowTheSameDevice) {
  BlkRig rig;
  TestMachine& m = rig.machine;
  EXPECT_EQ(rig.config().get16(pci::kDeviceId), 0x1001);
  EXPECT_EQ(m.in32(kPorts + 20), 8192u) << "capacity in sectors";
  m.out8(kPorts + 18, 3);
  m.out32(kPorts + 4, m.in32(kPorts));
  m.out16(kPorts + 14, 0);
  EXPECT_EQ(m.in16(kPorts + 12), 256);
  m.out32(kPorts + 8, kRings >> 12);
  m.out8(kPorts + 18, 7);
  TestQueue queue(m, kRings, 256, false);
  const u64 header = rig.header(0, 2);
  rig.disk.content[1024] = std::byte{0x5a};
  queue.offer({{header, 16}}, {{kData, 512}, {header + 16, 1}});
  m.out16(kPorts + 16, 0);
  rig.disk.complete();
  ASSERT_TRUE(queue.used());
  EXPECT_EQ(rig.status_of(header), 0);
  EXPECT_EQ(m.read_mem(kData, 1), 0x5au);
  EXPECT_TRUE(m.pin_level(rig.bus.root_pin(3, 0)));
  EXPECT_EQ(m.in8(kPorts + 19), 1) << "reading acknowledges";
  EXPECT_FALSE(m.pin_level(rig.bus.root_pin(3, 0)));
  m.out8(kPorts + 18, 0);
  EXPECT_EQ(m.in32(kPorts + 8), 0u);
}

TEST(VirtioPci, ConfigurationSpaceReachesTheStructures) {
  BlkRig rig;
  const unsigned access = rig.access_capability();
  ASSERT_NE(access, 0u);
  rig.card.config_write(access + 4, 1, 4);
  rig.card.config_write(access + 8, 4, 0x2000);
  rig.card.config_write(access + 12, 4, 4);
  EXPECT_EQ(rig.card.config_read(access + 16, 4), 8192u);
  rig.card.config_write(access + 8, 4, 0x14);
  rig.card.config_write(access + 12, 4, 1);
  rig.card.config_write(access + 16, 4, 1);
  EXPECT_EQ(rig.driver.status(), 1);
}

// Every way to arrange rings: random requests of random shape against a model of the disk, whose
// completions come in any order.
struct RingsTest : testing::TestWithParam<std::tuple<bool, bool, bool, bool>> {};

TEST_P(RingsTest, RequestsOfEveryShape) {
  const auto [packed, indirect, event_index, in_order] = GetParam();
  BlkRig rig({.queue_size = 16}, everything());
  u64 features = virtio::kVersion1 | virtio::kAccessPlatform;
  if (packed) features |= virtio::kRingPacked;
  if (indirect) features |= virtio::kRingIndirect;
  if (event_index) features |= virtio::kRingEventIndex;
  if (in_order) features |= virtio::kInOrder;
  ASSERT_TRUE(rig.driver.negotiate(features));
  const u16 size = packed ? 13 : 16;
  TestQueue queue = rig.driver.queue(0, size, kRings);
  rig.driver.go();
  std::mt19937 random(7);
  std::vector<std::byte> model(rig.disk.content.size());
  struct Sent {
    u64 header, data, sector, size;
    bool read;
  };
  unsigned interrupts = 0;
  for (int round = 0; round < 300; round++) {
    std::map<u16, Sent> sent;
    std::vector<u16> order;
    u16 room = size;
    for (unsigned n = 0; n < 4; n++) {
      const u64 sectors = 1 + random() % 6;
      const Sent request{rig.header(0, 0), kData + 0x10000 * n, u64{n} * 64 + random() % 32,
                         sectors * 512, random() % 2 == 0};
      rig.machine.write_mem(request.header, 4, request.read ? 0 : 1);
      rig.machine.write_mem(request.header + 8, 8, request.sector);
      std::vector<TestBuffer> pieces;
      for (u64 at = 0; at < request.size;) {
        const u32 length = static_cast<u32>(std::min<u64>(request.size - at, 1 + random() % 1500));
        pieces.push_back({request.data + at, length});
        at += length;
      }
      if (!indirect && pieces.size() + 2 > room) break;
      room = static_cast<u16>(room - (indirect ? 1 : pieces.size() + 2));
      for (u64 at = 0; !request.read && at < request.size; at += 4)
        rig.machine.write_mem(request.data + at, 4, random());
      std::vector<TestBuffer> readable{{request.header, 16}}, writable{{request.header + 16, 1}};
      if (request.read)
        writable.insert(writable.begin(), pieces.begin(), pieces.end());
      else
        readable.insert(readable.end(), pieces.begin(), pieces.end());
      const u16 id = queue.offer(readable, writable, indirect ? 0x80000 + 0x1000 * n : 0);
      ASSERT_FALSE(sent.contains(id));
      sent[id] = request;
      order.push_back(id);
    }
    rig.driver.kick(0);
    ASSERT_EQ(rig.disk.waiting(), sent.size());
    while (rig.disk.waiting() > 0) rig.disk.complete(random() % rig.disk.waiting());
    interrupts += rig.driver.isr();
    size_t done = 0;
    while (const auto used = queue.used()) {
      ASSERT_TRUE(sent.contains(used->id));
      if (in_order) {
        EXPECT_EQ(used->id, order[done]);
      }
      const Sent& request = sent[used->id];
      EXPECT_EQ(rig.status_of(request.header), 0);
      EXPECT_EQ(used->written, request.read ? request.size + 1 : 1);
      for (u64 at = 0; at < request.size; at++) {
        const u8 there = static_cast<u8>(rig.machine.read_mem(request.data + at, 1));
        std::byte& expected = model[request.sector * 512 + at];
        if (!request.read) expected = std::byte(there);
        ASSERT_EQ(there, static_cast<u8>(expected));
      }
      done++;
    }
    ASSERT_EQ(done, sent.size()) << "round " << round;
  }
  EXPECT_EQ(model, rig.disk.content);
  // With event index this driver, which never moves its event, hears once a lap of the counters.
  EXPECT_GT(interrupts, event_index ? 0u : 299u);
}

INSTANTIATE_TEST_SUITE_P(All, RingsTest,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Bool(),
                                          testing::Bool()));

// What a driver may get wrong. Each leaves the device wanting a reset, and well after one.
struct BrokenRig : BlkRig {
  explicit BrokenRig(bool packed = false)
      : BlkRig({.queue_size = 16}, everything()), packed_(packed) {
    start();
  }
  void start() {
    ASSERT_TRUE(driver.negotiate(kEverything | virtio::kAccessPlatform |
                                 (packed_ ? virtio::kRingPacked : 0)));
    queue.emplace(driver.queue(0, 16, kRings));
    driver.go();
  }
  void expect_broken_then_well() {
    driver.kick(0);
    disk.drain();
    EXPECT_TRUE(driver.status() & virtio::kNeedsReset);
    EXPECT_FALSE(queue->used());
    driver.kick(0);
    EXPECT_EQ(disk.waiting(), 0u);
    start();
    EXPECT_FALSE(driver.status() & virtio::kNeedsReset);
    const u64 header = this->header(0, 0);
    queue->offer({{header, 16}}, {{kData, 512}, {header + 16, 1}});
    driver.kick(0);
    disk.drain();
    EXPECT_TRUE(queue->used());
    EXPECT_EQ(status_of(header), 0);
  }
  void descriptor(unsigned n, u64 address, u32 length, u16 flags, u16 last) {
    const u64 at = kRings + 16 * n;
    machine.write_mem(at, 8, address);
    machine.write_mem(at + 8, 4, length);
    machine.write_mem(at + (packed_ ? 14 : 12), 2, flags);
    machine.write_mem(at + (packed_ ? 12 : 14), 2, last);
  }
  void make_available(u16 head) {
    machine.write_mem(queue->driver_area() + 4, 2, head);
    machine.write_mem(queue->driver_area() + 2, 2, 1);
  }
  std::optional<TestQueue> queue;

 private:
  bool packed_;
};

constexpr u16 kNext = 1, kWrite = 2, kIndirect = 4, kAvail = 1 << 7;

TEST(BrokenDriver, ALoop) {
  BrokenRig rig;
  rig.descriptor(0, kHeaders, 16, kNext, 1);
  rig.descriptor(1, kHeaders, 16, kNext, 0);
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ALoopInATable) {
  BrokenRig rig;
  rig.descriptor(0, 0x80000, 32, kIndirect, 0);
  for (const u64 at : {0x80000, 0x80010}) {
    rig.machine.write_mem(at, 8, kHeaders);
    rig.machine.write_mem(at + 8, 8, 16 | u64{kNext} << 32);
  }
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ATableInATable) {
  BrokenRig rig;
  rig.descriptor(0, 0x80000, 16, kIndirect, 0);
  rig.machine.write_mem(0x80000, 8, 0x80000);
  rig.machine.write_mem(0x80008, 8, 16 | u64{kIndirect} << 32);
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ATableOfOddSize) {
  BrokenRig rig;
  rig.descriptor(0, 0x80000, 17, kIndirect, 0);
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, AHeadBeyondTheRing) {
  BrokenRig rig;
  rig.make_available(16);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, AnIndexThatRunsAhead) {
  BrokenRig rig;
  rig.machine.write_mem(rig.queue->driver_area() + 2, 2, 17);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ADescriptorOutsideRam) {
  BrokenRig rig;
  rig.descriptor(0, 0xffff'ffff'ffff'f000, 16, kNext, 1);
  rig.descriptor(1, kHeaders + 16, 1, kWrite, 0);
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ItsOwnRegistersAsBuffer) {
  BrokenRig rig;
  const u64 header = rig.header(0, 0);
  rig.queue->offer({{header, 16}}, {{kBar4, 512}, {header + 16, 1}});
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, ReadableBehindWritable) {
  BrokenRig rig;
  rig.descriptor(0, kData, 512, kNext | kWrite, 1);
  rig.descriptor(1, kHeaders, 16, 0, 0);
  rig.make_available(0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, NoPlaceForTheStatus) {
  BrokenRig rig;
  rig.queue->offer({{rig.header(4, 0), 16}}, {});
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, APackedChainWithoutEnd) {
  BrokenRig rig(true);
  for (unsigned n = 0; n < 16; n++) rig.descriptor(n, kHeaders, 16, kNext | kAvail, 0);
  rig.expect_broken_then_well();
}

TEST(BrokenDriver, RingsOutsideRam) {
  BrokenRig rig;
  ASSERT_TRUE(rig.driver.negotiate(kEverything | virtio::kAccessPlatform));
  rig.driver.select(0);
  rig.machine.write_mem(kBar4 + 0x28, 8, 0xff'ffff'f000);
  rig.machine.write_mem(kBar4 + 0x1c, 2, 1);
  rig.driver.go();
  rig.expect_broken_then_well();
}

TEST(VirtioBlk, LongTransfersGoInPieces) {
  BlkRig rig;
  ASSERT_TRUE(rig.driver.negotiate(kEverything));
  TestQueue queue = rig.driver.queue(0, 16, kRings);
  rig.driver.go();
  for (size_t i = 0; i < rig.disk.content.size(); i += 511) rig.disk.content[i] = std::byte(i);
  const u64 header = rig.header(0, 1);
  queue.offer({{header, 16}}, {{kData, 3 * MiB}, {header + 16, 1}});
  rig.driver.kick(0);
  EXPECT_LE(rig.disk.request(0).data.size(), MiB);
  rig.disk.drain();
  const auto used = queue.used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->written, 3 * MiB + 1);
  std::vector<std::byte> got(3 * MiB);
  (void)rig.machine.memory.read({kData}, got);
  EXPECT_TRUE(std::equal(got.begin(), got.end(), rig.disk.content.begin() + 512));
}

TEST(VirtioBlk, OtherRequestsAndErrors) {
  BlkRig rig({.serial = "SER", .write_cache = true});
  ASSERT_TRUE(rig.driver.negotiate(kEverything | bit(9) | bit(11) | bit(13) | bit(14)));
  TestQueue queue = rig.driver.queue(0, 16, kRings);
  rig.driver.go();
  const auto request = [&](u32 type, u64 sector, std::vector<TestBuffer> out,
                           std::vector<TestBuffer> in) {
    const u64 header = rig.header(type, sector);
    out.insert(out.begin(), {header, 16});
    in.push_back({header + 16, 1});
    queue.offer(out, in);
    rig.driver.kick(0);
    if (rig.disk.waiting()) rig.disk.complete();
    EXPECT_TRUE(queue.used());
    return rig.status_of(header);
  };
  const auto range = [&](u64 sector, u32 sectors, u32 flags) {
    rig.machine.write_mem(kData, 8, sector);
    rig.machine.write_mem(kData + 8, 4, sectors);
    rig.machine.write_mem(kData + 12, 4, flags);
    return std::vector<TestBuffer>{{kData, 16}};
  };
  EXPECT_EQ(request(4, 0, {}, {}), 0);
  EXPECT_EQ(request(8, 0, {}, {{kData, 20}}), 0);
  EXPECT_EQ(rig.machine.read_mem(kData, 4), u64{'S' | 'E' << 8 | 'R' << 16});
  EXPECT_EQ(request(0, 8192, {}, {{kData, 512}}), 1) << "beyond the end";
  EXPECT_EQ(request(0, ~u64{0}, {}, {{kData, 512}}), 1);
  EXPECT_EQ(request(0, 0, {}, {{kData, 100}}), 1) << "no whole sectors";
  EXPECT_EQ(request(77, 0, {}, {}), 2);
  std::ranges::fill(rig.disk.content, std::byte{7});
  EXPECT_EQ(request(13, 0, range(2, 1, 1), {}), 0);
  EXPECT_EQ(rig.disk.content[1023], std::byte{7});
  EXPECT_EQ(rig.disk.content[1024], std::byte{0});
  EXPECT_EQ(rig.disk.content[1536], std::byte{7});
  EXPECT_EQ(request(11, 0, range(2, 4, 0), {}), 0);
  EXPECT_EQ(request(11, 0, range(2, 4, 1), {}), 2) << "a flag that discard has not";
  EXPECT_EQ(request(11, 0, range(8190, 4, 0), {}), 1);
  rig.disk.broken = true;
  EXPECT_EQ(request(1, 0, {{kData, 512}}, {}), 1);
  rig.disk.broken = false;
  // The write cache switched off: a write is durable when it is done.
  rig.driver.set_config(32, 1, 0);
  const u64 header = rig.header(1, 0);
  queue.offer({{header, 16}, {kData, 512}}, {{header + 16, 1}});
  rig.driver.kick(0);
  EXPECT_TRUE(rig.disk.request(0).fua);
  rig.disk.drain();
}

TEST(VirtioBlk, ResetWaitsForWhatIsUnderWay) {
  BlkRig rig;
  ASSERT_TRUE(rig.driver.negotiate(kEverything | virtio::kRingReset));
  TestQueue queue = rig.driver.queue(0, 16, kRings);
  rig.driver.go();
  const u64 header = rig.header(0, 0);
  queue.offer({{header, 16}}, {{kData, 512}, {header + 16, 1}});
  rig.driver.kick(0);
  ASSERT_EQ(rig.disk.waiting(), 1u);
  rig.driver.reset_queue(0);
  EXPECT_EQ(rig.disk.waiting(), 0u);
  EXPECT_EQ(rig.driver.common(0x3a, 2), 0u);
  EXPECT_EQ(rig.driver.common(0x1c, 2), 0u);
  // The queue comes back alone, elsewhere and smaller.
  TestQueue again = rig.driver.queue(0, 8, kRings + 0x8000);
  const u64 second = rig.header(0, 0);
  again.offer({{second, 16}}, {{kData, 512}, {second + 16, 1}});
  rig.driver.kick(0);
  rig.disk.drain();
  EXPECT_TRUE(again.used());
  rig.driver.set_status(0);
  EXPECT_EQ(rig.driver.common(0x18, 2), 256u);
}

TEST(VirtioBlk, AStateTravelsWithARequestOffered) {
  BlkRig from({.queue_size = 16}, everything()), to({.queue_size = 16}, everything());
  ASSERT_TRUE(from.driver.negotiate(kEverything | virtio::kAccessPlatform | virtio::kRingPacked));
  TestQueue queue = from.driver.queue(0, 16, kRings);
  from.driver.go();
  const u64 header = from.header(0, 0);
  from.card.pause();
  queue.offer({{header, 16}}, {{kData, 512}, {header + 16, 1}});
  from.driver.kick(0);
  EXPECT_EQ(from.disk.waiting(), 0u) << "it rests";
  std::vector<std::byte> memory(2 * MiB);
  (void)from.machine.memory.read({0}, memory);
  (void)to.machine.memory.write({0}, memory);
  EXPECT_THAT(TestMachine::round_trip(from.card, to.card), IsEmpty());
  to.card.resume();
  ASSERT_EQ(to.disk.waiting(), 1u) << "it goes on there";
  to.disk.drain();
  EXPECT_EQ(to.status_of(header), 0);
}

TEST(VirtioPci, MessagesGoWhereTheDriverSaid) {
  BlkRig rig({}, {}, 3);
  rig.card.config_write(rig.config().find_capability(pci::kCapMsiX) + 2, 2, 0x8000);
  for (unsigned v = 0; v < 3; v++) {
    rig.machine.write_mem(kMsiX + 16 * v, 8, 0xfee0'0000);
    rig.machine.write_mem(kMsiX + 16 * v + 8, 4, 0x40 + v);
    rig.machine.write_mem(kMsiX + 16 * v + 12, 4, 0);
  }
  ASSERT_TRUE(rig.driver.negotiate(virtio::kVersion1));
  TestQueue queue = rig.driver.queue(0, 16, kRings);
  rig.machine.write_mem(kBar4 + 0x10, 2, 9);
  EXPECT_EQ(rig.driver.common(0x10, 2), 0xffffu) << "there is no vector 9";
  rig.machine.write_mem(kBar4 + 0x10, 2, 1);
  rig.machine.write_mem(kBar4 + 0x1a, 2, 2);
  rig.driver.go();
  const u64 header = rig.header(4, 0);
  queue.offer({{header, 16}}, {{header + 16, 1}});
  rig.driver.kick(0);
  rig.disk.drain();
  const std::vector<MsiMessage> sent = rig.machine.take_msis();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].data, 0x42u);
  // A mistake is told by the configuration's vector.
  rig.machine.write_mem(queue.driver_area() + 2, 2, 999);
  rig.driver.kick(0);
  EXPECT_EQ(rig.machine.take_msis().at(0).data, 0x41u);
}

struct RngRig : PciTestBus {
  explicit RngRig(const VirtioRngConfig& config)
      : card("rng", std::make_unique<VirtioRng>(machine.tape, config), {.vectors = 0},
             {.time = machine.time}) {
    bus.add(card, PciBus::devfn(3, 0)).value();
    card.reset(ResetKind::PowerOn);
    card.config_write(pci::kBar0 + 16, 4, kBar4);
    card.config_write(pci::kCommand, 2, 7);
  }
  ~RngRig() { bus.remove(card); }
  VirtioPci card;
  TestPciDriver driver{machine, kBar4};
};

TEST(VirtioRng, GivesOutAPeriodsAllowance) {
  RngRig rig({.max_bytes = 100, .period = 10});
  ASSERT_TRUE(rig.driver.negotiate(kEverything));
  TestQueue queue = rig.driver.queue(0, 16, kRings);
  rig.driver.go();
  for (unsigned n = 0; n < 3; n++) queue.offer({}, {{kData + 64 * n, 64}});
  rig.driver.kick(0);
  EXPECT_EQ(queue.used()->written, 64u);
  EXPECT_EQ(queue.used()->written, 36u);
  EXPECT_FALSE(queue.used());
  rig.machine.step_ns(10'000'000);
  EXPECT_EQ(queue.used()->written, 64u);
  EXPECT_NE(rig.machine.read_mem(kData, 8), rig.machine.read_mem(kData + 64, 8));
}

}  // namespace
}  // namespace menura
