#include "memory/ram.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <set>

#include "base/units.h"

namespace menura {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A folder that vanishes with its files.
struct Scratch {
  Scratch() {
    std::string pattern = testing::TempDir() + "menura-ram-XXXXXX";
    path = ::mkdtemp(pattern.data());
  }
  ~Scratch() {
    for (const char* name : {"ram", "small"}) ::unlink((path + "/" + name).c_str());
    ::rmdir(path.c_str());
  }
  std::string path;
};

std::string error_of(const RamConfig& config) {
  Result<std::shared_ptr<RamBlock>> ram = RamBlock::create(config);
  return ram ? "(made)" : ram.error().text;
}

TEST(Ram, AnonymousIsZeroPageRoundedAndInAMemfd) {
  auto ram = RamBlock::create({.name = "pc.ram", .size = 10000}).value();
  EXPECT_EQ(ram->size(), 3 * kPageSize);
  EXPECT_EQ(ram->load<u64>(8), 0u);
  ram->store<u32>(0, 0x12345678);
  u32 through_fd = 0;
  ASSERT_EQ(::pread(ram->fd(), &through_fd, 4, 0), 4);
  EXPECT_EQ(through_fd, 0x12345678u);
  EXPECT_EQ(reinterpret_cast<u64>(ram->host()) % (2 * MiB), 0u);
  const std::string link = "/proc/self/fd/" + std::to_string(ram->fd());
  char target[100] = {};
  ASSERT_GT(::readlink(link.c_str(), target, sizeof target - 1), 0);
  EXPECT_THAT(target, HasSubstr("memfd:pc.ram"));
}

TEST(Ram, LoadsAndStoresOfEverySizeAtOddOffsets) {
  auto ram = RamBlock::create({.size = kPageSize}).value();
  for (u64 offset = 0; offset < 9; offset++) {
    ram->store<u64>(offset, 0x1122334455667788);
    EXPECT_EQ(ram->load<u64>(offset), 0x1122334455667788u);
    EXPECT_EQ(ram->load<u32>(offset + 1), 0x44556677u);
    EXPECT_EQ(ram->load<u16>(offset + 2), 0x5566u);
    EXPECT_EQ(ram->load<u8>(offset + 7), 0x11u);
  }
}

TEST(Ram, ImpossibleSizes) {
  EXPECT_EQ(error_of({.name = "a", .size = 0}),
            "Allocating RAM 'a': a size of 0 bytes is not possible");
  EXPECT_THAT(error_of({.name = "a", .size = ~u64{0}}), HasSubstr("is not possible"));
  EXPECT_THAT(error_of({.name = "a", .size = u64{1} << 51}),
              testing::AnyOf(HasSubstr("Reserving"), HasSubstr("Allocating")));
}

TEST(Ram, FileInADirectoryHasNoName) {
  const Scratch scratch;
  auto ram = RamBlock::create({.size = 8192, .path = scratch.path}).value();
  ram->store<u8>(5, 7);
  EXPECT_EQ(ram->load<u8>(5), 7);
  EXPECT_EQ(::rmdir(scratch.path.c_str()), 0) << "something was left in the directory";
}

TEST(Ram, NamedFileIsMadeSharedAndKept) {
  const Scratch scratch;
  const std::string path = scratch.path + "/ram";
  {
    auto ram = RamBlock::create({.size = 8192, .path = path}).value();
    ram->store<u32>(4, 0xabcdef01);
  }
  auto again = RamBlock::create({.size = 8192, .path = path}).value();
  EXPECT_EQ(again->load<u32>(4), 0xabcdef01u);
}

TEST(Ram, PrivateMappingLeavesTheFileAlone) {
  const Scratch scratch;
  const std::string path = scratch.path + "/ram";
  std::ofstream(path) << std::string(8192, 'x');
  ASSERT_EQ(::chmod(path.c_str(), 0400), 0);  // reading it is enough
  {
    auto ram = RamBlock::create({.size = 8192, .path = path, .share = false}).value();
    EXPECT_EQ(ram->load<u8>(100), 'x');
    ram->store<u8>(100, 'y');
    EXPECT_EQ(ram->load<u8>(100), 'y');
  }
  std::ifstream file(path);
  std::string content((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(content, std::string(8192, 'x'));
}

TEST(Ram, FileFailuresSayWhatAndWhy) {
  const Scratch scratch;
  EXPECT_EQ(
      error_of({.name = "m", .size = 4096, .path = scratch.path + "/none/ram"}),
      "Allocating RAM 'm': Opening '" + scratch.path + "/none/ram': No such file or directory");
  const std::string small = scratch.path + "/small";
  std::ofstream(small) << "short";
  EXPECT_EQ(error_of({.name = "m", .size = 8192, .path = small}),
            "Allocating RAM 'm': '" + small + "' has 5 bytes, but 8192 are needed");
  EXPECT_THAT(error_of({.name = "m", .size = 4096, .path = "/proc/self/maps"}),
              AllOf(HasSubstr("'m'"), HasSubstr("/proc/self/maps")));
  EXPECT_THAT(error_of({.name = "m", .size = 4096, .path = small, .huge = HugePages::Explicit}),
              HasSubstr("is not on a hugetlbfs"));
}

// A sealed memfd refuses even root.
TEST(Ram, ReadOnlyFileCannotBeShared) {
  const UniqueFd file(::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(file.get(), 8192), 0);
  ASSERT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_EQ(error_of({.name = "m", .size = 8192, .path = path}),
            "Mapping 8 KiB for RAM 'm' from '" + path + "': Operation not permitted");
  EXPECT_TRUE(RamBlock::create({.size = 8192, .path = path, .share = false}).ok());
}

TEST(Ram, PreallocationIsResidentOrAnErrorAtOnce) {
  constexpr u64 kSize = 4 * MiB;
  auto ram = RamBlock::create({.size = kSize, .preallocate = true}).value();
  std::vector<unsigned char> resident(kSize / kPageSize);
  ASSERT_EQ(::mincore(ram->host(), kSize, resident.data()), 0);
  for (unsigned char page : resident) ASSERT_EQ(page & 1, 1);
  EXPECT_THAT(
      error_of({.name = "big", .size = 64 * TiB, .preallocate = true}),
      AllOf(HasSubstr("Preallocating 64 TiB for RAM 'big': the host has "), HasSubstr(" to give")));
}

TEST(Ram, HugePagesOrAClearRefusal) {
  Result<std::shared_ptr<RamBlock>> ram =
      RamBlock::create({.name = "h", .size = 3 * MiB, .huge = HugePages::Explicit});
  if (!ram) {
    EXPECT_THAT(ram.error().text, AllOf(HasSubstr("for RAM 'h' with 2 MiB pages (the host has "),
                                        HasSubstr("vm.nr_hugepages")));
  } else {
    EXPECT_EQ((*ram)->size(), 4 * MiB);
    (*ram)->store<u8>(4 * MiB - 1, 1);
  }
  EXPECT_THAT(
      error_of({.name = "h", .size = MiB, .huge = HugePages::Explicit, .huge_page_size = 12345}),
      HasSubstr("is not a huge page size"));
}

TEST(Ram, TransparentHugePagesAreAdvice) {
  auto ram = RamBlock::create({.size = 4 * MiB, .huge = HugePages::Transparent}).value();
  ram->store<u8>(MiB, 1);
  EXPECT_EQ(ram->load<u8>(MiB), 1);
}

TEST(Ram, HostNodes) {
  using enum HostPolicy;
  const auto with = [](std::vector<u32> nodes, HostPolicy policy) {
    return RamConfig{.name = "n", .size = MiB, .host_nodes = std::move(nodes), .policy = policy};
  };
  EXPECT_THAT(error_of(with({5000}, Bind)), HasSubstr("Binding RAM 'n' to host node 5000"));
  EXPECT_THAT(error_of(with({1000}, Bind)),
              HasSubstr("Binding RAM 'n' to host node 1000 (bind): "));
  EXPECT_THAT(error_of(with({}, Interleave)),
              HasSubstr("the policy 'interleave' needs host nodes"));
  EXPECT_THAT(error_of(with({0}, Default)), HasSubstr("has no use for host nodes"));
  // The kernel's own account of what it was asked for, numa_maps(5).
  for (const HostPolicy policy : {Preferred, Bind, Interleave}) {
    Result<std::shared_ptr<RamBlock>> ram = RamBlock::create(with({0}, policy));
    if (!ram) GTEST_SKIP() << "SKIPPED: the host has no NUMA: " << ram.error().text;
    (*ram)->store<u8>(0, 1);
    std::ifstream maps("/proc/self/numa_maps");
    if (!maps) continue;
    const std::string address = format("{:x}", reinterpret_cast<u64>((*ram)->host()));
    std::string line, found;
    while (std::getline(maps, line))
      if (line.find(address) != std::string::npos) found = line;
    const std::string_view name = enum_names(policy)[static_cast<size_t>(policy)];
    EXPECT_THAT(found, HasSubstr(policy == Preferred ? "prefer" : std::string(name)));
  }
}

TEST(Ram, PreallocationByThreadsTouchesEveryPage) {
  auto ram =
      RamBlock::create({.size = 9 * MiB, .preallocate = true, .preallocate_threads = 3}).value();
  std::vector<unsigned char> present(ram->size() / kPageSize);
  ASSERT_EQ(::mincore(ram->host(), ram->size(), present.data()), 0);
  EXPECT_TRUE(std::ranges::all_of(present, [](unsigned char p) { return p & 1; }));
}

TEST(Ram, MergingSealingAndDumping) {
  EXPECT_THAT(error_of({.name = "m", .size = MiB, .merge = true}), HasSubstr("private mappings"));
  auto ram = RamBlock::create({.size = MiB, .dump = false, .seal = true}).value();
  EXPECT_LT(::ftruncate(ram->fd(), 2 * MiB), 0) << "its size is sealed";
  std::ifstream maps("/proc/self/smaps");
  const std::string address = format("{:x}-", reinterpret_cast<u64>(ram->host()));
  std::string line;
  bool here = false, undumped = false;
  while (std::getline(maps, line)) {
    if (line.find('-') < 17 && line.find(' ') > 16) here = line.starts_with(address);
    if (here && line.starts_with("VmFlags:")) undumped = line.find(" dd") != std::string::npos;
  }
  EXPECT_TRUE(undumped);
}

TEST(Ram, DirtyPagesAgainstASet) {
  constexpr u64 kPages = 200;
  auto ram = RamBlock::create({.size = kPages * kPageSize}).value();
  ram->store<u8>(0, 1);
  ram->track_dirty(DirtyClient::Migration, true);
  EXPECT_FALSE(ram->is_dirty(DirtyClient::Migration, 0)) << "pages begin clean";
  std::mt19937 random(1);
  std::set<u64> dirty;
  const std::vector<std::byte> content(3 * kPageSize);
  for (int round = 0; round < 2000; round++) {
    const u64 offset = random() % (kPages * kPageSize - content.size());
    const u64 length = random() % content.size();
    if (random() % 4 != 0) {
      if (length == 0) continue;
      if (random() % 2)
        ram->write(offset, ConstBytes(content).first(length));
      else
        ram->fill(offset, length, std::byte{1});
      for (u64 p = offset / kPageSize; p <= (offset + length - 1) / kPageSize; p++) dirty.insert(p);
      continue;
    }
    const u64 first = random() % kPages;
    const u64 pages = random() % (kPages - first + 1);
    const std::vector<u64> taken =
        ram->take_dirty(DirtyClient::Migration, first * kPageSize, pages * kPageSize);
    ASSERT_EQ(taken.size(), (pages + 63) / 64);
    for (u64 i = 0; i < taken.size() * 64; i++) {
      const bool expected = i < pages && dirty.erase(first + i) == 1;
      ASSERT_EQ((taken[i / 64] >> (i % 64)) & 1, expected) << "page " << first << "+" << i;
    }
  }
  EXPECT_FALSE(ram->tracks_dirty(DirtyClient::Code));
  EXPECT_FALSE(ram->is_dirty(DirtyClient::Code, 0));
}

TEST(Ram, DirtyClientsAreIndependentAndStoreMarksBothPages) {
  auto ram = RamBlock::create({.size = 4 * kPageSize}).value();
  ram->track_dirty(DirtyClient::Display, true);
  ram->track_dirty(DirtyClient::Code, true);
  ram->store<u32>(kPageSize - 1, 0);
  EXPECT_EQ(ram->take_dirty(DirtyClient::Display, 0, ram->size()), std::vector<u64>{3});
  EXPECT_EQ(ram->take_dirty(DirtyClient::Display, 0, ram->size()), std::vector<u64>{0});
  EXPECT_EQ(ram->take_dirty(DirtyClient::Code, kPageSize, kPageSize), std::vector<u64>{1});
  EXPECT_TRUE(ram->is_dirty(DirtyClient::Code, 0));
  ram->track_dirty(DirtyClient::Code, false);
  ram->store<u8>(0, 0);
  ram->track_dirty(DirtyClient::Code, true);
  EXPECT_EQ(ram->take_dirty(DirtyClient::Code, 0, ram->size()), std::vector<u64>{0});
}

TEST(RamDeathTest, OutOfRangeIsOurBug) {
  auto ram = RamBlock::create({.size = kPageSize}).value();
  EXPECT_DEATH((void)ram->load<u32>(kPageSize - 2), "inside the RAM block");
}

}  // namespace
}  // namespace menura
