#include "block/image_disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/units.h"
#include "block/drivers.h"

namespace menura {
namespace {

constexpr u64 kSize = 4 * MiB;

// Over raw (direct) and qcow2 (direct where it is allocated).
struct ImageDiskTest : testing::TestWithParam<std::string> {
  ImageDiskTest() {
    path = (std::filesystem::temp_directory_path() / format("menura-disk-{}", ::getpid())).string();
    EXPECT_TRUE(graph.create(GetParam(), path, kSize, Value::object()));
  }
  ~ImageDiskTest() override {
    {
      const MachineLock::Guard guard(lock);
      disk.reset();
    }
    std::filesystem::remove(path);
  }
  ImageDisk& open(bool read_only = false) {
    Graph::FileOptions options{.format = GetParam(), .read_only = read_only};
    options.more = Value::object();
    options.more.set("discard", "unmap");
    NodePtr node = graph.open_file(path, std::move(options)).value();
    const u8 writes = read_only ? 0 : kWrite;
    Child user =
        Child::attach(
            std::move(node),
            {"a test", "root", {static_cast<u8>(kConsistentRead | writes), kConsistentRead}})
            .value();
    const MachineLock::Guard guard(lock);
    disk = std::make_unique<ImageDisk>(ImageDisk::Wiring{*loop, *engine, pool}, std::move(user),
                                       ImageDisk::Cache::Writeback);
    return *disk;
  }
  std::string error_of(DiskRequest request) {
    std::optional<Result<void>> outcome;
    request.done = [&](Result<void> r) { outcome = std::move(r); };
    const MachineLock::Guard guard(lock);
    disk->submit(std::move(request));
    EXPECT_FALSE(outcome) << "done must not run inside submit()";
    disk->drain();
    return !outcome ? "(not done)" : *outcome ? "" : outcome->error().text;
  }
  std::string path;
  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  WorkerPool pool{*loop, 4};
  std::unique_ptr<IoEngine> engine = IoEngine::create(*loop, pool).value();
  Graph graph{all_drivers()};
  std::unique_ptr<ImageDisk> disk;
};

TEST_P(ImageDiskTest, ManyRequestsAtOnceKeepTheirOrderWhereTheyOverlap) {
  open();
  std::mt19937 random(7);
  std::vector<std::byte> model(kSize);
  struct Job {
    std::vector<std::byte> buffer, expected;
    bool done = false;
  };
  std::vector<std::unique_ptr<Job>> jobs;
  for (unsigned round = 0; round < 20; round++) {
    const MachineLock::Guard guard(lock);
    for (unsigned i = 0; i < 40; i++) {
      const u64 offset = random() % (kSize / 512 - 200) * 512, length = (1 + random() % 200) * 512;
      auto job = std::make_unique<Job>();
      DiskRequest request{.offset = offset};
      request.done = [&, j = job.get()](Result<void> r) {
        EXPECT_TRUE(r);
        j->done = true;
      };
      const auto place = model.begin() + static_cast<i64>(offset);
      switch (random() % 5) {
        case 0:
        case 1:
          job->buffer.resize(length);
          job->expected.assign(place, place + static_cast<i64>(length));
          request.op = DiskOp::Read, request.data = job->buffer;
          break;
        case 2:
        case 3:
          job->buffer.resize(length);
          for (std::byte& b : job->buffer) b = static_cast<std::byte>(random());
          std::ranges::copy(job->buffer, place);
          request.op = DiskOp::Write, request.data = job->buffer, request.fua = i == 5;
          break;
        default:
          std::fill_n(place, length, std::byte{0});
          request.op = DiskOp::WriteZeroes, request.length = length;
      }
      disk->submit(std::move(request));
      jobs.push_back(std::move(job));
    }
    disk->submit({.op = DiskOp::Flush, .done = [](Result<void> r) { EXPECT_TRUE(r); }});
    if (round % 2) disk->drain();
  }
  {
    const MachineLock::Guard guard(lock);
    disk->drain();
  }
  for (const auto& job : jobs) {
    EXPECT_TRUE(job->done);
    if (!job->expected.empty()) {
      EXPECT_EQ(std::memcmp(job->buffer.data(), job->expected.data(), job->buffer.size()), 0);
    }
  }
  std::vector<std::byte> all(kSize);
  EXPECT_EQ(error_of({.op = DiskOp::Read, .offset = 0, .data = all}), "");
  EXPECT_TRUE(all == model);
  EXPECT_GT(disk->statistics().writes, 100u);
}

TEST_P(ImageDiskTest, RefusesClearly) {
  open(true);
  std::vector<std::byte> buffer(4096);
  EXPECT_EQ(error_of({.op = DiskOp::Write, .offset = 0, .data = buffer}), "The disk is read-only");
  EXPECT_EQ(error_of({.op = DiskOp::Read, .offset = kSize - 512, .data = buffer}),
            format("Access of 4096 bytes at {} on a disk of {} bytes", kSize - 512, kSize));
  EXPECT_NE(error_of({.op = DiskOp::Read, .offset = ~u64{0}, .data = buffer}), "");
}

// Sixteen requests that must wait, four workers: another disk's requests are not kept waiting by them.
TEST_P(ImageDiskTest, ThrottledRequestsTakeNoWorkers) {
  ASSERT_TRUE(graph.throttle_groups().add("slow", {.iops_total = {.mean = 1}}));
  Value filter = Value::object();
  filter.set("driver", "throttle");
  filter.set("throttle-group", "slow");
  Value below = Value::object();
  below.set("driver", GetParam());
  below.set("filename", path);
  filter.set("file", std::move(below));
  Child user = Child::attach(graph.open(std::move(filter)).value(),
                             {"a test", "root", {kConsistentRead | kWrite, kConsistentRead}})
                   .value();
  std::vector<std::byte> buffer(16 * 4096);
  unsigned done = 0;
  bool other_done = false;
  {
    const MachineLock::Guard guard(lock);
    disk = std::make_unique<ImageDisk>(ImageDisk::Wiring{*loop, *engine, pool}, std::move(user),
                                       ImageDisk::Cache::Writeback);
    for (unsigned i = 0; i < 16; i++)
      disk->submit({.op = DiskOp::Write,
                    .offset = i * 64 * KiB,
                    .data = Bytes(buffer).subspan(i * 4096, 4096),
                    .done = [&](const Result<void>& r) { done += r.ok(); }});
  }
  pool.submit([] {}, [&] { other_done = true; });
  while (!other_done) loop->run_once(-1);
  EXPECT_LT(done, 16u);
  const auto began = std::chrono::steady_clock::now();
  while (done < 2) loop->run_once(-1);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
  const MachineLock::Guard guard(lock);
  disk->drain();  // makes nobody wait
  EXPECT_EQ(done, 16u);
}

INSTANTIATE_TEST_SUITE_P(Formats, ImageDiskTest, testing::Values("raw", "qcow2"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace menura
