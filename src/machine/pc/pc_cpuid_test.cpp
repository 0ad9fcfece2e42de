// CPUID's leaves of topology and caches, as Intel's SDM vol. 2 and AMD's APM vol. 3 appendix E lay them out.
#include "machine/pc/pc_cpuid.h"

#include <gtest/gtest.h>

#include "base/bits.h"

namespace menura {
namespace {

constexpr u32 kIntel = 0x756e'6547, kAmd = 0x6874'7541, kTopologyExtensions = 1u << 22;

std::vector<CpuidEntry> leaves(u32 vendor, u32 features, const Topology& t, unsigned cpu) {
  return pc_cpuid({{.leaf = 0, .eax = 1, .ebx = vendor},
                   {.leaf = 1},
                   {.leaf = 4, .subleaf = 0, .eax = 0x1234},
                   {.leaf = 0x8000'0000, .eax = 0x8000'0008},
                   {.leaf = 0x8000'0001, .ecx = features},
                   {.leaf = 0x8000'0005},
                   {.leaf = 0x8000'0006},
                   {.leaf = 0x8000'0008},
                   {.leaf = 0x8000'001e, .eax = 99}},
                  t, cpu);
}

const CpuidEntry* find(const std::vector<CpuidEntry>& all, u32 leaf, u32 subleaf = 0) {
  for (const CpuidEntry& e : all)
    if (e.leaf == leaf && e.subleaf.value_or(subleaf) == subleaf) return &e;
  return nullptr;
}

u32 bytes_of(const CpuidEntry& e) {
  return (bits(e.ebx, 31, 22) + 1) * (bits(e.ebx, 21, 12) + 1) * (bits(e.ebx, 11, 0) + 1) *
         (e.ecx + 1);
}

// Two sockets of two dies of three cores of two threads.
constexpr Topology kTopology{
    .cpus = 24, .max_cpus = 24, .sockets = 2, .dies = 2, .cores = 3, .threads = 2};

TEST(PcCpuid, IntelsCachesByLeaf4) {
  const auto all = leaves(kIntel, 0, kTopology, 0);
  struct {
    u32 type, level, bytes, ids;
  } const kWanted[] = {
      {1, 1, 32 << 10, 2}, {2, 1, 32 << 10, 2}, {3, 2, 512 << 10, 2}, {3, 3, 16 << 20, 8}};
  for (u32 i = 0; i < 4; i++) {
    const CpuidEntry* e = find(all, 4, i);
    ASSERT_TRUE(e);
    EXPECT_EQ(bits(e->eax, 4, 0), kWanted[i].type);
    EXPECT_EQ(bits(e->eax, 7, 5), kWanted[i].level);
    EXPECT_EQ(bits(e->eax, 25, 14) + 1, kWanted[i].ids);  // IDs, rounded up to a power of two
    EXPECT_EQ(bits(e->eax, 31, 26) + 1, 8u);              // of cores in the package
    EXPECT_EQ(bytes_of(*e), kWanted[i].bytes);
  }
  EXPECT_EQ(bits(find(all, 4, 4)->eax, 4, 0), 0u);  // no more
  EXPECT_EQ(find(all, 2)->eax & 0xff, 1u);
  EXPECT_EQ(find(all, 0x8000'001d), nullptr);
}

TEST(PcCpuid, AmdsCachesByTheExtendedLeaves) {
  const auto all = leaves(kAmd, kTopologyExtensions, kTopology, 11);  // the first socket's last
  EXPECT_EQ(find(all, 0x8000'0000)->eax, 0x8000'001eu);
  EXPECT_EQ(find(all, 4), nullptr);
  const u32 sharing[] = {2, 2, 2, 6};
  for (u32 i = 0; i < 4; i++)
    EXPECT_EQ(bits(find(all, 0x8000'001d, i)->eax, 25, 14) + 1, sharing[i]);  // CPUs
  EXPECT_EQ(bytes_of(*find(all, 0x8000'001d, 3)), 16u << 20);
  const CpuidEntry* e = find(all, 0x8000'001e);
  EXPECT_EQ(e->eax, kTopology.apic_id(11));
  EXPECT_EQ(e->ebx, 2u | 1u << 8);  // core 2 of two threads
  EXPECT_EQ(e->ecx, 1u | 1u << 8);  // die 1 of two
  // The older leaves say the same sizes.
  EXPECT_EQ(find(all, 0x8000'0005)->ecx >> 24, 32u);
  EXPECT_EQ(find(all, 0x8000'0006)->ecx >> 16, 512u);
  EXPECT_EQ((find(all, 0x8000'0006)->edx >> 18) * 512, 16384u);
}

TEST(PcCpuid, NothingExtendedWithoutItsBit) {
  const auto all = leaves(kAmd, 0, kTopology, 0);
  EXPECT_EQ(find(all, 0x8000'0000)->eax, 0x8000'0008u);
  EXPECT_EQ(find(all, 0x8000'001d), nullptr);
  EXPECT_EQ(find(all, 0x8000'001e), nullptr);
}

}  // namespace
}  // namespace menura
