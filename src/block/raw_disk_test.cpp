#include "block/raw_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "event/event_loop.h"
#include "event/worker_pool.h"

namespace menura {
namespace {

struct RawDiskTest : testing::Test {
  RawDiskTest() {
    path = (std::filesystem::temp_directory_path() / ("menura-raw-" + std::to_string(::getpid())))
               .string();
    const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC).value();
    EXPECT_EQ(::ftruncate(fd.get(), 1 << 20), 0);
  }
  ~RawDiskTest() override { std::filesystem::remove(path); }
  // Disks go under the lock.
  struct Locked {
    explicit Locked(MachineLock& l) : lock(l) {}
    void operator()(RawDisk* disk) const {
      const MachineLock::Guard guard(lock);
      delete disk;
    }
    MachineLock& lock;
  };
  std::unique_ptr<RawDisk, Locked> open(RawDisk::Mode mode) {
    return {RawDisk::open(*engine, path, mode).value().release(), Locked(lock)};
  }
  std::string error_of(RawDisk& disk, DiskRequest request) {
    std::optional<Result<void>> outcome;
    request.done = [&](Result<void> r) { outcome = std::move(r); };
    {
      const MachineLock::Guard guard(lock);
      disk.submit(std::move(request));
      EXPECT_FALSE(outcome) << "done must not run inside submit()";
      disk.drain();
    }
    return !outcome ? "(not done)" : *outcome ? "" : outcome->error().text;
  }
  std::string path;
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  WorkerPool pool{*loop, 2};
  std::unique_ptr<IoEngine> engine = IoEngine::create(*loop, pool).value();
};

TEST_F(RawDiskTest, WritesReadsDiscards) {
  auto disk = open(RawDisk::Mode::ReadWrite);
  EXPECT_EQ(disk->size(), 1u << 20);
  std::vector<std::byte> out(4096, std::byte{0x42}), in(4096);
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Write, .offset = 8192, .data = out, .fua = true}), "");
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Flush}), "");
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Read, .offset = 8192, .data = in}), "");
  EXPECT_EQ(in, out);
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::WriteZeroes, .offset = 8192, .length = 4096}), "");
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Read, .offset = 8192, .data = in}), "");
  EXPECT_EQ(in, std::vector<std::byte>(4096));
}

TEST_F(RawDiskTest, RefusesClearly) {
  std::vector<std::byte> buffer(4096);
  auto disk = open(RawDisk::Mode::ReadOnly);
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Write, .offset = 0, .data = buffer}),
            "The disk is read-only");
  EXPECT_EQ(error_of(*disk, {.op = DiskOp::Read, .offset = (1 << 20) - 512, .data = buffer}),
            "Access of 4096 bytes at 1048064 on a disk of 1048576 bytes");
  EXPECT_NE(error_of(*disk, {.op = DiskOp::Read, .offset = ~u64{0}, .data = buffer}), "");
  EXPECT_FALSE(RawDisk::open(*engine, "/nonexistent.img", RawDisk::Mode::ReadOnly));
  EXPECT_FALSE(RawDisk::open(*engine, "/tmp", RawDisk::Mode::ReadOnly));
}

}  // namespace
}  // namespace menura
