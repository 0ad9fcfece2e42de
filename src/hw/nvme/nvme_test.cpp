// Expectations are from NVM Express Base 1.4; figures are named by section.
#include "hw/nvme/nvme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"
#include "hw/nvme/test_driver.h"
#include "hw/pci/pci_conformance.h"

namespace menura {
namespace {

using testing::IsEmpty;

struct ChipRig final : PciConformanceRig {
  ChipRig() {
    nvme.add_namespace(1, disk, {}).value();
    plug(nvme, PciBus::devfn(4, 0));
  }
  MemoryDisk disk{MiB};
  Nvme nvme{"nvme0", {.serial = "S"}};
};

TEST(Nvme, Conforms) {
  NvmeRig rig;
  EXPECT_THAT(check_pci_function(rig.nvme, {{0x44, 2}}), IsEmpty());  // D1 and D2 are not there
  EXPECT_THAT(conformance_problems<ChipRig>(), IsEmpty());
  survive_hostile_states<ChipRig>();
}

// §3.1.
TEST(Nvme, RegistersAfterReset) {
  NvmeRig rig;
  const u64 cap = rig.reg64(0x00);
  EXPECT_EQ(cap & 0xffff, 2047u);   // MQES
  EXPECT_TRUE(cap >> 16 & 1);       // CQR
  EXPECT_EQ(cap >> 32 & 0xf, 0u);   // DSTRD: four bytes
  EXPECT_EQ(cap >> 37 & 0xff, 1u);  // CSS: the NVM command set
  EXPECT_EQ(cap >> 48 & 0xf, 0u);   // MPSMIN: 4 KiB
  EXPECT_EQ(rig.reg(0x08), 0x0001'0400u);
  EXPECT_EQ(rig.reg(0x14), 0u);
  EXPECT_EQ(rig.reg(0x1c), 0u);
  EXPECT_EQ(rig.nvme.config_read(0x08, 4), 0x0108'0202u);  // class 010802h, revision 2
}

TEST(Nvme, EnablesOnlyWithQueues) {
  NvmeRig rig;
  rig.set_reg(0x14, 1);
  EXPECT_EQ(rig.reg(0x1c) & 3, 2u);  // CSTS.CFS: queues of one entry
  rig.set_reg(0x14, 0);
  EXPECT_EQ(rig.reg(0x1c), 0u);
  rig.enable();
  EXPECT_EQ(rig.reg(0x1c), 1u);
  rig.set_reg(0x14, rig.reg(0x14) | 1 << 14);  // SHN: normal
  EXPECT_EQ(rig.reg(0x1c) >> 2 & 3, 2u);       // SHST: complete
}

// §5.15.2.2.
TEST(Nvme, IdentifiesItself) {
  NvmeRig rig;
  rig.enable();
  EXPECT_EQ(rig.admin({.opcode = 0x06, .prp1 = 0x9000, .cdw10 = 1}).status, 0u);
  const auto at = [&](u64 offset, unsigned size) { return rig.m.read_mem(0x9000 + offset, size); };
  EXPECT_EQ(at(0, 2), 0x1b36u);
  EXPECT_EQ(rig.text(0x9004, 20), "SERIAL-1            ");
  EXPECT_EQ(at(77, 1), 7u);            // MDTS
  EXPECT_EQ(at(80, 4), 0x0001'0400u);  // VER
  EXPECT_EQ(at(512, 1), 0x66u);        // SQES
  EXPECT_EQ(at(513, 1), 0x44u);        // CQES
  EXPECT_EQ(at(520, 2) & 0xd, 0xdu);   // ONCS: compare, DSM, write zeroes
  EXPECT_EQ(rig.text(0x9000 + 768, 4), "nqn.");
  EXPECT_EQ(rig.admin({.opcode = 0x06, .nsid = 1, .prp1 = 0x9000, .cdw10 = 0}).status, 0u);
  EXPECT_EQ(at(0, 8), NvmeRig::kDiskSize / 512);  // NSZE
  EXPECT_EQ(at(128, 4), 9u << 16);                // LBAF0: 512 bytes
  EXPECT_EQ(rig.admin({.opcode = 0x06, .prp1 = 0x9000, .cdw10 = 2}).status, 0u);
  EXPECT_EQ(at(0, 8), 1u);  // active: namespace 1, and no more
  EXPECT_EQ(rig.admin({.opcode = 0x06, .nsid = 7, .prp1 = 0x9000, .cdw10 = 3}).status & 0x7ff,
            0x00bu);
}

// §5.3 to §5.6.
TEST(Nvme, MakesAndDeletesQueues) {
  NvmeRig rig;
  rig.enable();
  const auto status = [&](const NvmeEntry& entry) { return rig.admin(entry).status & 0x7ff; };
  EXPECT_EQ(status({.opcode = 1, .prp1 = 0xa000, .cdw10 = 15u << 16 | 1, .cdw11 = 1u << 16 | 1}),
            0x100u);
  EXPECT_EQ(status({.opcode = 5, .prp1 = 0xb000, .cdw10 = 15u << 16, .cdw11 = 1}), 0x101u);
  EXPECT_EQ(status({.opcode = 5, .prp1 = 0xb000, .cdw10 = 1, .cdw11 = 1}), 0x102u);
  EXPECT_EQ(status({.opcode = 5, .prp1 = 0xb004, .cdw10 = 15u << 16 | 1, .cdw11 = 1}), 0x013u);
  rig.make_io_queues();
  EXPECT_EQ(status({.opcode = 4, .cdw10 = 1}), 0x10cu);  // its submission queue is there
  EXPECT_EQ(status({.opcode = 0, .cdw10 = 1}), 0u);
  EXPECT_EQ(status({.opcode = 4, .cdw10 = 1}), 0u);
  EXPECT_EQ(status({.opcode = 4, .cdw10 = 1}), 0x101u);
}

TEST(Nvme, MovesDataByPages) {
  NvmeRig rig;
  rig.enable();
  rig.make_io_queues();
  // Three pages and a bit from the middle of one on: PRP1, and a list.
  for (u64 i = 0; i < 26 * 512; i++)
    rig.m.ram->store<u8>(0x2'0a00 + i, static_cast<u8>(i * 7 + i / 512));
  rig.m.ram->store<u64>(0x3'0000, 0x2'1000);
  rig.m.ram->store<u64>(0x3'0008, 0x2'2000);
  rig.m.ram->store<u64>(0x3'0010, 0x2'3000);
  EXPECT_EQ(
      rig.io({.opcode = 1, .nsid = 1, .prp1 = 0x2'0a00, .prp2 = 0x3'0000, .cdw10 = 5, .cdw12 = 25})
          .status,
      0u);
  for (u64 i = 0; i < 26 * 512; i++)
    ASSERT_EQ(static_cast<u8>(rig.disk.content[5 * 512 + i]), static_cast<u8>(i * 7 + i / 512))
        << i;
  // Two sectors back to two pages, without a list.
  EXPECT_EQ(
      rig.io({.opcode = 2, .nsid = 1, .prp1 = 0x4'0e00, .prp2 = 0x5'0000, .cdw10 = 6, .cdw12 = 1})
          .status,
      0u);
  EXPECT_EQ(rig.m.ram->load<u8>(0x4'0e00), static_cast<u8>(rig.disk.content[6 * 512]));
  EXPECT_EQ(rig.m.ram->load<u8>(0x5'01ff), static_cast<u8>(rig.disk.content[8 * 512 - 1]));
  EXPECT_EQ(
      rig.io({.opcode = 5, .nsid = 1, .prp1 = 0x4'0e00, .prp2 = 0x5'0000, .cdw10 = 6, .cdw12 = 1})
          .status,
      0u);
  rig.m.ram->store<u8>(0x5'01ff, static_cast<u8>(rig.m.ram->load<u8>(0x5'01ff) + 1));
  EXPECT_EQ(
      rig.io({.opcode = 5, .nsid = 1, .prp1 = 0x4'0e00, .prp2 = 0x5'0000, .cdw10 = 6, .cdw12 = 1})
              .status &
          0x7ff,
      0x285u);
}

// §4.4: a segment of two data descriptors.
TEST(Nvme, MovesDataByScatterGatherLists) {
  NvmeRig rig;
  rig.enable();
  rig.make_io_queues();
  for (u64 i = 0; i < 1024; i++) rig.disk.content[i] = static_cast<std::byte>(i / 3);
  rig.m.ram->store<u64>(0x3'0000, 0x2'0003);
  rig.m.ram->store<u64>(0x3'0008, 1000);
  rig.m.ram->store<u64>(0x3'0010, 0x2'8001);
  rig.m.ram->store<u64>(0x3'0018, 24);
  const u64 last_segment = u64{0x30} << 56 | 32;
  const NvmeEntry read{
      .opcode = 2, .flags = 0x40, .nsid = 1, .prp1 = 0x3'0000, .prp2 = last_segment, .cdw12 = 1};
  EXPECT_EQ(rig.io(read).status, 0u);
  EXPECT_EQ(rig.m.ram->load<u8>(0x2'0003 + 999), 999 / 3 & 0xff);
  EXPECT_EQ(rig.m.ram->load<u8>(0x2'8001 + 23), 1023 / 3 & 0xff);
  rig.m.ram->store<u64>(0x3'0018, 23);
  EXPECT_EQ(rig.io(read).status & 0x7ff, 0x00fu);  // too short
}

TEST(Nvme, RefusesWhatCannotBe) {
  NvmeRig rig;
  rig.enable();
  rig.make_io_queues();
  const auto status = [&](const NvmeEntry& entry) { return rig.io(entry).status & 0x7ff; };
  const u32 blocks = NvmeRig::kDiskSize / 512;
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000, .cdw10 = blocks}), 0x080u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000, .cdw10 = blocks - 1, .cdw12 = 1}),
            0x080u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000, .cdw10 = ~0u, .cdw11 = ~0u}), 0x080u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 2, .prp1 = 0x9000}), 0x00bu);
  EXPECT_EQ(status({.opcode = 0x55, .nsid = 1}), 0x001u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000, .prp2 = 0xa008, .cdw12 = 15}), 0x013u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = u64{1} << 50}), 0x004u);
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000, .cdw12 = 1024}), 0x002u);  // past MDTS
  rig.disk.broken = true;
  EXPECT_EQ(status({.opcode = 2, .nsid = 1, .prp1 = 0x9000}), 0x281u);
  EXPECT_EQ(status({.opcode = 1, .nsid = 1, .prp1 = 0x9000}), 0x280u);
  rig.disk.broken = false;
  rig.disk.readonly = true;
  EXPECT_EQ(status({.opcode = 1, .nsid = 1, .prp1 = 0x9000}), 0x182u);
}

TEST(Nvme, ZeroesDiscardsAndFlushes) {
  NvmeRig rig;
  rig.enable();
  rig.make_io_queues();
  std::ranges::fill(rig.disk.content, std::byte{0xff});
  EXPECT_EQ(rig.io({.opcode = 8, .nsid = 1, .cdw10 = 2, .cdw12 = 1}).status, 0u);
  EXPECT_EQ(rig.disk.content[2 * 512 - 1], std::byte{0xff});
  EXPECT_EQ(rig.disk.content[2 * 512], std::byte{0});
  EXPECT_EQ(rig.disk.content[4 * 512 - 1], std::byte{0});
  EXPECT_EQ(rig.disk.content[4 * 512], std::byte{0xff});
  rig.m.ram->store<u32>(0x9004, 3);   // three blocks
  rig.m.ram->store<u64>(0x9008, 10);  // from the tenth on
  EXPECT_EQ(rig.io({.opcode = 9, .nsid = 1, .prp1 = 0x9000, .cdw10 = 0, .cdw11 = 4}).status, 0u);
  EXPECT_EQ(rig.disk.content[10 * 512], std::byte{0});
  EXPECT_EQ(rig.disk.content[13 * 512], std::byte{0xff});
  rig.m.ram->store<u64>(0x9008, NvmeRig::kDiskSize / 512 - 2);
  EXPECT_EQ(rig.io({.opcode = 9, .nsid = 1, .prp1 = 0x9000, .cdw10 = 0, .cdw11 = 4}).status & 0x7ff,
            0x080u);
  EXPECT_EQ(rig.io({.opcode = 0, .nsid = 0xffff'ffff}).status, 0u);
  EXPECT_EQ(rig.disk.flushes, 1);
  EXPECT_EQ(rig.io({.opcode = 1, .nsid = 1, .prp1 = 0x9000, .cdw12 = 1u << 30}).status, 0u);
  EXPECT_EQ(rig.disk.fuas, 1);
  // Without its cache every write is durable.
  EXPECT_EQ(rig.admin({.opcode = 9, .cdw10 = 6, .cdw11 = 0}).status, 0u);
  EXPECT_EQ(rig.admin({.opcode = 0x0a, .cdw10 = 6}).result, 0u);
  EXPECT_EQ(rig.io({.opcode = 1, .nsid = 1, .prp1 = 0x9000}).status, 0u);
  EXPECT_EQ(rig.disk.fuas, 2);
}

// §4.6: the phase changes with every turn of the queue.
TEST(Nvme, CompletionsTurnAround) {
  NvmeRig rig;
  rig.enable();
  for (unsigned i = 0; i < 3 * NvmeRig::kEntries; i++)
    ASSERT_EQ(rig.admin({.opcode = 0x0a, .cdw10 = 7}).result, 63u << 16 | 63) << i;
}

// A full completion queue keeps commands waiting, and none is lost.
TEST(Nvme, WaitsForRoomInTheCompletionQueue) {
  NvmeRig rig;
  rig.enable();
  rig.make_io_queues();
  rig.disk.immediate = false;
  for (u16 i = 0; i < NvmeRig::kEntries - 1; i++) rig.submit(1, {.opcode = 0, .nsid = 1});
  rig.disk.pump();
  for (u16 i = 0; i < 5; i++) rig.submit(1, {.opcode = 0, .nsid = 1});
  rig.disk.pump();
  unsigned seen = 0;
  for (; seen < 100 && rig.poll(1); seen++) rig.disk.pump();
  EXPECT_EQ(seen, NvmeRig::kEntries - 1 + 5);
}

// §5.2: an event waits for a request, and a type is told again only when its log was read.
TEST(Nvme, TellsOfDoorbellsThatAreNot) {
  NvmeRig rig;
  rig.enable();
  rig.submit(0, {.opcode = 0x0c});
  EXPECT_FALSE(rig.poll(0));
  rig.set_reg(0x1000 + 8 * 3, 1);
  const auto event = rig.poll(0);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->result, 0x0001'0000u);  // log 1; invalid register; an error
  rig.submit(0, {.opcode = 0x0c});
  rig.set_reg(0x1000, 0xffff);
  EXPECT_FALSE(rig.poll(0));
  EXPECT_EQ(rig.admin({.opcode = 2, .prp1 = 0x9000, .cdw10 = 15u << 16 | 1}).status, 0u);
  const auto second = rig.poll(0);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->result, 0x0001'0100u);  // an invalid value
  EXPECT_EQ(rig.admin({.opcode = 2, .prp1 = 0x9000, .cdw10 = 15u << 16 | 0x70}).status & 0x7ff,
            0x109u);
}

TEST(Nvme, InterruptsByPinAndByMessage) {
  NvmeRig rig;
  rig.enable();
  rig.submit(0, {.opcode = 0x0a, .cdw10 = 7});
  EXPECT_TRUE(rig.m.pin_level(rig.pin()));
  rig.set_reg(0x0c, 1);
  EXPECT_FALSE(rig.m.pin_level(rig.pin()));
  rig.set_reg(0x10, 1);
  EXPECT_TRUE(rig.m.pin_level(rig.pin()));
  EXPECT_TRUE(rig.poll(0));
  EXPECT_FALSE(rig.m.pin_level(rig.pin()));
  rig.open_vector(0, 0xfee0'0000, 0x41);
  (void)rig.m.take_msis();
  rig.submit(0, {.opcode = 0x0a, .cdw10 = 7});
  EXPECT_EQ(rig.m.take_msis(), (std::vector<MsiMessage>{{0xfee0'0000, 0x41}}));
}

TEST(Nvme, IsSavedAmongItsCommands) {
  NvmeRig rig, twin;
  rig.enable();
  rig.make_io_queues();
  rig.submit(0, {.opcode = 0x0c});
  rig.disk.immediate = false;
  for (u16 i = 0; i < 5; i++) rig.submit(1, {.opcode = 2, .nsid = 1, .prp1 = 0x9000});
  rig.nvme.pause();
  EXPECT_THAT(TestMachine::round_trip(rig.nvme, twin.nvme), IsEmpty());
  EXPECT_EQ(rig.disk.waiting.size(), 0u);
}

TEST(NvmeConfig, SaysWhatCannotBe) {
  EXPECT_FALSE(NvmeConfig{.serial = ""}.check());
  EXPECT_FALSE((NvmeConfig{.serial = "S", .max_ioqpairs = 0}.check()));
  EXPECT_FALSE((NvmeConfig{.serial = "S", .mdts = 12}.check()));
  EXPECT_FALSE(
      (NvmeNamespaceConfig{.logical_block_size = 4096, .physical_block_size = 512}.check()));
  Nvme nvme("n", {.serial = "S"});
  MemoryDisk disk(MiB);
  EXPECT_TRUE(nvme.add_namespace(0, disk, {}));
  EXPECT_FALSE(nvme.add_namespace(1, disk, {}));
  EXPECT_FALSE(nvme.add_namespace(257, disk, {}));
}

}  // namespace
}  // namespace menura
