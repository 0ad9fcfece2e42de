#include "machine/config.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

Result<Topology> smp(u32 cpus, u32 maxcpus, u32 sockets, u32 dies, u32 cores, u32 threads) {
  return resolve_topology({cpus, maxcpus, sockets, dies, cores, threads}, 255);
}

TEST(TopologyTest, FillsInWhatWasNotSaid) {
  EXPECT_EQ(smp(0, 0, 0, 0, 0, 0).value(), (Topology{1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(smp(4, 0, 0, 0, 0, 0).value(), (Topology{4, 4, 4, 1, 1, 1}));
  EXPECT_EQ(smp(8, 0, 2, 0, 0, 0).value(), (Topology{8, 8, 2, 1, 4, 1}));
  EXPECT_EQ(smp(8, 0, 1, 0, 4, 0).value(), (Topology{8, 8, 1, 1, 4, 2}));
  EXPECT_EQ(smp(0, 0, 2, 2, 3, 2).value(), (Topology{24, 24, 2, 2, 3, 2}));
  EXPECT_EQ(smp(1, 2, 2, 0, 1, 1).value(), (Topology{1, 2, 2, 1, 1, 1}));
}

TEST(TopologyTest, ErrorsShowTheArithmetic) {
  const Result<Topology> wrong = smp(6, 0, 2, 0, 2, 2);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().text,
            "-smp: sockets (2) * dies (1) * cores (2) * threads (2) = 8, but maxcpus is 6");
  EXPECT_FALSE(smp(4, 2, 0, 0, 0, 0));
  EXPECT_FALSE(smp(300, 0, 0, 0, 0, 0));
  EXPECT_FALSE(smp(3, 0, 0, 0, 2, 0)) << "three CPUs do not fill sockets of two cores";
  EXPECT_FALSE(smp(0, 0, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff));
}

TEST(TopologyTest, ApicIdsLeaveRoomForEachLevel) {
  const Topology t{24, 24, 2, 2, 3, 2};
  // One bit for the thread, two for the core, one for the die.
  EXPECT_EQ(t.apic_id(0), 0u);
  EXPECT_EQ(t.apic_id(1), 1u);
  EXPECT_EQ(t.apic_id(5), 0b0101u);
  EXPECT_EQ(t.apic_id(6), 0b1000u);
  EXPECT_EQ(t.apic_id(12), 0b10000u);
  const Topology flat{4, 4, 4, 1, 1, 1};
  for (u32 i = 0; i < 4; i++) EXPECT_EQ(flat.apic_id(i), i);
}

TEST(FirmwareTest, SaysWhereItLooked) {
  EXPECT_EQ(find_firmware("/a/b").value(), "/a/b") << "a path is taken as it is";
  const Result<std::string> missing = find_firmware("no-such-firmware.bin");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().text.find("/usr/share/seabios/"), std::string::npos);
}

}  // namespace
}  // namespace menura
