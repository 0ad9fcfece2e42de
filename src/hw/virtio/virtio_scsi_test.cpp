// A SCSI disk behind virtio, driven from the specification's driver side.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/pci/pci_conformance.h"
#include "hw/pci/pci_regs.h"
#include "hw/scsi/scsi_disk.h"
#include "hw/scsi/test_disk.h"
#include "hw/virtio/test_driver.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_scsi.h"

namespace menura {
namespace {

using testing::IsEmpty;

constexpr u64 kBar4 = 0xc000'0000, kRings = 0x10000, kOut = 0x100000, kIn = 0x200000;
using std::string_literals::operator""s;

struct ScsiRig : PciConformanceRig {
  ScsiRig() {
    plug(card, PciBus::devfn(3, 0));
    card.reset(ResetKind::PowerOn);
    card.config_write(pci::kBar0 + 16, 4, kBar4);
    card.config_write(pci::kCommand, 2, 7);
  }
  ~ScsiRig() override { bus.remove(card); }
  Device& device() override { return card; }
  void start() {
    ASSERT_TRUE(driver.negotiate(virtio::kVersion1));
    for (u16 n = 0; n < 3; n++) queues.push_back(driver.queue(n, 16, kRings + 0x4000 * u64{n}));
    driver.go();
  }
  struct Answer {
    unsigned response, status, key, asc;
    u64 residue;
    std::string data;
  };
  Answer command(std::string cdb, u32 in = 0, const std::string& out = {}, unsigned target = 0,
                 unsigned lun = 0) {
    std::string request(51, 0);
    request[0] = 1;
    request[1] = static_cast<char>(target);
    request[2] = 0x40;
    request[3] = static_cast<char>(lun);
    cdb.resize(32);
    request.replace(19, 32, cdb);
    request += out;
    (void)machine.memory.write({kOut}, bytes_of(request));
    queues[2].offer({{kOut, static_cast<u32>(request.size())}}, {{kIn, 108 + in}});
    driver.kick(2);
    medium.drain();
    const auto used = queues[2].used();
    EXPECT_TRUE(used);
    std::string reply(108 + in, 0);
    (void)machine.memory.read({kIn}, writable_bytes_of(reply));
    const auto byte = [&](size_t at) { return static_cast<unsigned>(static_cast<u8>(reply[at])); };
    const u64 residue = machine.read_mem(kIn + 4, 4);
    return {byte(11), byte(10), byte(12 + 2) & 15, byte(12 + 12), residue, reply.substr(108)};
  }
  SlowDisk medium{2 * MiB};
  std::unique_ptr<VirtioScsi> owner = std::make_unique<VirtioScsi>(VirtioScsiConfig{});
  VirtioScsi& scsi = *owner;
  VirtioPci card{"scsi", std::move(owner), {.vectors = 0}, {.time = machine.time}};
  ScsiDisk disk{"disk", scsi, {.target = 2, .serial = "SER"}, medium};
  TestPciDriver driver{machine, kBar4};
  std::vector<TestQueue> queues;
};

TEST(VirtioScsi, FindsTheUnitsThatAreThere) {
  ScsiRig rig;
  rig.start();
  EXPECT_EQ(rig.command("\x12\0\0\0\x24"s, 36).response, 3u) << "no target 0";
  EXPECT_EQ(rig.command("\x12\0\0\0\x24"s, 36, {}, 2, 1).response, 3u) << "no LUN 1";
  const auto luns = rig.command("\xa0\0\0\0\0\0\0\0\0\x20\0\0"s, 32, {}, 2);
  EXPECT_EQ(luns.data.substr(0, 16), "\0\0\0\x8\0\0\0\0\0\0\0\0\0\0\0\0"s);
  const auto inquiry = rig.command("\x12\0\0\0\x24"s, 36, {}, 2);
  EXPECT_EQ(inquiry.status, 0u);
  EXPECT_EQ(inquiry.data.substr(8, 24), "MENURA  MENURA HARDDISK ");
  EXPECT_EQ(inquiry.residue, 0u);
  const auto serial = rig.command("\x12\1\x80\0\xff"s, 255, {}, 2);
  EXPECT_EQ(serial.data.substr(0, 7), "\0\x80\0\3SER"s);
  EXPECT_EQ(serial.residue, 248u);
}

TEST(VirtioScsi, ReadsWritesAndFails) {
  ScsiRig rig;
  rig.start();
  const auto command = [&](const std::string& cdb, u32 in = 0, const std::string& out = {}) {
    return rig.command(cdb, in, out, 2);
  };
  const auto first = command("\0\0\0\0\0\0"s);
  EXPECT_EQ(first.status, 2u);
  EXPECT_EQ(first.asc, 0x29u) << "power on";
  EXPECT_EQ(command("\0\0\0\0\0\0"s).status, 0u);
  EXPECT_EQ(command("\x25\0\0\0\0\0\0\0\0\0"s, 8).data, "\0\0\x0f\xff\0\0\2\0"s);
  const std::string text(1024, 'q');
  EXPECT_EQ(command("\x2a\0\0\0\0\x5\0\0\2\0"s, 0, text).status, 0u);
  EXPECT_EQ(rig.medium.content[5 * 512 + 1023], std::byte{'q'});
  EXPECT_EQ(command("\x88\0\0\0\0\0\0\0\0\x5\0\0\0\2\0\0"s, 1024).data, text);
  EXPECT_EQ(command("\x8\0\0\x5\1\0"s, 512).data, text.substr(512));
  EXPECT_EQ(command("\x28\0\0\0\x0f\xff\0\0\2\0"s, 1024).asc, 0x21u) << "beyond the end";
  EXPECT_EQ(command("\x28\0\0\0\0\0\0\0\2\0"s, 512).asc, 0x24u) << "no room";
  EXPECT_EQ(command("\xff\0"s).asc, 0x20u);
  std::string ranges(24, 0);
  ranges[15] = 5, ranges[19] = 1;
  EXPECT_EQ(command("\x42\0\0\0\0\0\0\0\x18\0"s, 0, ranges).status, 0u);
  EXPECT_EQ(command("\x93\0\0\0\0\0\0\0\0\6\0\0\0\1\0\0"s, 0, std::string(512, 0)).status, 0u);
  EXPECT_EQ(rig.medium.content[6 * 512], std::byte{0});
  EXPECT_EQ(command("\x93\0\0\0\0\0\0\0\0\6\0\0\0\1\0\0"s, 0, text.substr(512)).asc, 0x24u);
  const std::string caching = command("\x1a\0\x8\0\xff\0"s, 255).data;
  EXPECT_EQ(caching[6], 4) << "the write cache is on";
  std::string select(24, 0);
  select[4] = 8, select[5] = 18;
  EXPECT_EQ(command("\x15\x10\0\0\x18\0"s, 0, select).status, 0u);
  EXPECT_EQ(command("\x1a\0\x8\0\xff\0"s, 255).data[6], 0);
  rig.medium.broken = true;
  EXPECT_EQ(command("\x28\0\0\0\0\0\0\0\1\0"s, 512).key, 3u);
}

TEST(VirtioScsi, IsADevice) {
  EXPECT_THAT(conformance_problems<ScsiRig>(), IsEmpty());
  survive_hostile_states<ScsiRig>();
}

}  // namespace
}  // namespace menura
