// One suite for both engines.
#include "event/io_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/units.h"
#include "event/event_loop.h"
#include "event/worker_pool.h"

namespace menura {
namespace {

UniqueFd temporary_file() {
  char name[] = "/tmp/menura-io-XXXXXX";
  UniqueFd fd(::mkstemp(name));
  ::unlink(name);
  return fd;
}

std::vector<std::byte> pattern(size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; i++)
    bytes[i] = static_cast<std::byte>((i * 131 + i / 251 + seed) & 0xff);
  return bytes;
}

struct IoEngineTest : testing::TestWithParam<IoEngineKind> {
  void SetUp() override {
    Result<std::unique_ptr<IoEngine>> made = IoEngine::create(*loop, pool, GetParam());
    if (!made) GTEST_SKIP() << made.error().text;
    engine = std::move(*made);
  }
  void TearDown() override {
    if (!engine) return;
    const MachineLock::Guard guard(lock);
    engine->drain();
  }

  void submit(IoRequest request) {
    const MachineLock::Guard guard(lock);
    engine->submit(std::move(request));
  }
  // Submits and runs the loop until it is done.
  Result<void> run(IoRequest request) {
    std::optional<Result<void>> outcome;
    request.done = [&](Result<void> status) {
      EXPECT_TRUE(lock.held());
      outcome = std::move(status);
    };
    submit(std::move(request));
    EXPECT_FALSE(outcome) << "done ran inside submit()";
    while (!outcome) loop->run_once(kNsPerSecond);
    return *outcome;
  }
  std::vector<std::byte> content() {
    struct stat info {};
    ::fstat(file.get(), &info);
    std::vector<std::byte> bytes(static_cast<size_t>(info.st_size));
    EXPECT_TRUE(pread_all(file.get(), bytes, 0));
    return bytes;
  }

  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  WorkerPool pool{*loop, 4};
  std::unique_ptr<IoEngine> engine;
  UniqueFd file = temporary_file();
};

INSTANTIATE_TEST_SUITE_P(Engines, IoEngineTest,
                         testing::Values(IoEngineKind::Uring, IoEngineKind::Workers),
                         [](const auto& info) {
                           return info.param == IoEngineKind::Uring ? "Uring" : "Workers";
                         });

TEST_P(IoEngineTest, WritesAndReadsBackAtOffsets) {
  const auto out = pattern(100'000);
  ASSERT_TRUE(run({.op = IoOp::Write,
                   .fd = file.get(),
                   .offset = 777,
                   .buffers = {iovec_of(ConstBytes(out))}}));
  ASSERT_TRUE(run({.op = IoOp::Flush, .fd = file.get()}));
  std::vector<std::byte> in(out.size());
  ASSERT_TRUE(
      run({.op = IoOp::Read, .fd = file.get(), .offset = 777, .buffers = {iovec_of(Bytes(in))}}));
  EXPECT_EQ(in, out);
  EXPECT_EQ(content().size(), 777 + out.size());
  EXPECT_EQ(content()[776], std::byte{0});
}

// More buffers than one system call takes, of odd and zero sizes.
TEST_P(IoEngineTest, VectoredTransfersOfAnyNumberOfBuffers) {
  const auto out = pattern(3000 * 7);
  std::vector<iovec> pieces;
  for (size_t at = 0, i = 0; at < out.size(); i++) {
    const size_t size = std::min<size_t>(i % 5 * 3, out.size() - at);
    pieces.push_back(iovec_of(ConstBytes(out).subspan(at, size)));
    at += size;
  }
  ASSERT_GT(pieces.size(), 3000u);
  ASSERT_TRUE(
      run({.op = IoOp::Write, .fd = file.get(), .offset = 0, .buffers = pieces, .durable = true}));
  EXPECT_EQ(content(), out);
  std::vector<std::byte> in(out.size());
  std::vector<iovec> parts;
  for (size_t at = 0; at < in.size(); at += 6)
    parts.push_back(iovec_of(Bytes(in).subspan(at, std::min<size_t>(6, in.size() - at))));
  ASSERT_TRUE(run({.op = IoOp::Read, .fd = file.get(), .offset = 0, .buffers = parts}));
  EXPECT_EQ(in, out);
}

TEST_P(IoEngineTest, ReadPastTheEndFailsAfterWhatThereWas) {
  ASSERT_TRUE(pwrite_all(file.get(), pattern(100), 0));
  std::vector<std::byte> in(300);
  const Result<void> status =
      run({.op = IoOp::Read, .fd = file.get(), .offset = 0, .buffers = {iovec_of(Bytes(in))}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::Corrupt);
  EXPECT_EQ(status.error().text, "Reading 300 bytes at 0: end of file after 100");
  in.resize(100);
  EXPECT_EQ(in, pattern(100));
}

TEST_P(IoEngineTest, HostErrorsComeBackWithTheirErrno) {
  auto bytes = pattern(512);
  const UniqueFd full = open_file("/dev/full", O_WRONLY).value();
  Result<void> status = run(
      {.op = IoOp::Write, .fd = full.get(), .offset = 0, .buffers = {iovec_of(ConstBytes(bytes))}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::NoSpace);
  EXPECT_EQ(status.error().text, "Writing 512 bytes at 0: No space left on device");

  const UniqueFd read_only = open_file("/dev/zero", O_RDONLY).value();
  status = run({.op = IoOp::Write,
                .fd = read_only.get(),
                .offset = 0,
                .buffers = {iovec_of(ConstBytes(bytes))}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().os_errno, EBADF);

  status = run({.op = IoOp::Read, .fd = -1, .offset = 0, .buffers = {iovec_of(Bytes(bytes))}});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().os_errno, EBADF);

  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd a(ends[0]), b(ends[1]);
  EXPECT_FALSE(run({.op = IoOp::Discard, .fd = b.get(), .offset = 0, .length = 4096}));
  EXPECT_FALSE(run({.op = IoOp::Flush, .fd = b.get()}));
}

// A real short write: the process's file size limit cuts it, then refuses the rest.
TEST_P(IoEngineTest, ShortWritesAreResumedToTheirError) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{10'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  const auto out = pattern(16'384);
  const Result<void> status = run(
      {.op = IoOp::Write, .fd = file.get(), .offset = 0, .buffers = {iovec_of(ConstBytes(out))}});
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().os_errno, EFBIG);
  EXPECT_EQ(content().size(), 10'000u);
  EXPECT_TRUE(std::ranges::equal(content(), std::span(out).first(10'000)));
}

TEST_P(IoEngineTest, DiscardAndZeroMakeZeroesAndKeepTheSize) {
  const auto out = pattern(64 * 1024);
  ASSERT_TRUE(pwrite_all(file.get(), out, 0));
  for (const IoOp op : {IoOp::Discard, IoOp::Zero}) {
    const u64 at = op == IoOp::Discard ? 4096 : 32768;
    const Result<void> status = run({.op = op, .fd = file.get(), .offset = at, .length = 8192});
    if (!status) {
      EXPECT_EQ(status.error().code, Errc::Unsupported) << status.error().text;
      continue;  // this file system cannot
    }
    const auto now = content();
    EXPECT_EQ(now.size(), out.size());
    EXPECT_TRUE(std::ranges::all_of(std::span(now).subspan(at, 8192),
                                    [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(now[at - 1], out[at - 1]);
    EXPECT_EQ(now[at + 8192], out[at + 8192]);
  }
  // Past the end, the file does not grow.
  (void)run({.op = IoOp::Zero, .fd = file.get(), .offset = 64 * 1024, .length = 8192});
  EXPECT_EQ(content().size(), out.size());
}

// Many more than the ring holds; each done exactly once.
TEST_P(IoEngineTest, ManyRequestsAtOnce) {
  constexpr size_t kCount = 1000, kSize = 512;
  const auto out = pattern(kCount * kSize);
  std::vector<int> done(kCount);
  for (size_t i = 0; i < kCount; i++)
    submit({.op = IoOp::Write,
            .fd = file.get(),
            .offset = i * kSize,
            .buffers = {iovec_of(ConstBytes(out).subspan(i * kSize, kSize))},
            .done = [&, i](Result<void> status) {
              EXPECT_TRUE(status);
              done[i]++;
            }});
  {
    const MachineLock::Guard guard(lock);
    engine->drain();
  }
  EXPECT_EQ(done, std::vector<int>(kCount, 1));
  EXPECT_EQ(content(), out);
}

TEST_P(IoEngineTest, DoneMaySubmitAndDrainAgain) {
  const auto out = pattern(4096);
  int rounds = 0;
  std::function<void(Result<void>)> next = [&](Result<void> status) {
    EXPECT_TRUE(status);
    if (++rounds == 50) return;
    engine->submit({.op = IoOp::Write,
                    .fd = file.get(),
                    .offset = 0,
                    .buffers = {iovec_of(ConstBytes(out))},
                    .done = next});
    if (rounds == 10) engine->drain();
  };
  submit({.op = IoOp::Flush, .fd = file.get(), .done = next});
  while (rounds < 50) loop->run_once(kNsPerSecond);
}

TEST_P(IoEngineTest, CancelledRequestsEndOneWayOrTheOther) {
  const auto out = pattern(1 << 16);
  unsigned good = 0, cancelled = 0;
  for (unsigned i = 0; i < 400; i++)
    submit({.op = IoOp::Write,
            .fd = file.get(),
            .offset = u64{i} << 16,
            .buffers = {iovec_of(ConstBytes(out))},
            .done = [&](Result<void> status) {
              if (status)
                good++;
              else if (status.error().code == Errc::Cancelled)
                cancelled++;
            }});
  {
    const MachineLock::Guard guard(lock);
    engine->cancel();
    engine->drain();
  }
  EXPECT_EQ(good + cancelled, 400u);
  EXPECT_GT(cancelled, 0u);
  // The engine works on.
  EXPECT_TRUE(run({.op = IoOp::Flush, .fd = file.get()}));
}

// The submitter's thread may end (a vCPU that is unplugged): its requests still finish.
TEST_P(IoEngineTest, RequestsOutliveTheThreadThatSubmittedThem) {
  const auto out = pattern(1 << 20);
  for (int round = 0; round < 20; round++) {
    std::optional<Result<void>> outcome;
    std::thread([&] {
      submit({.op = IoOp::Write,
              .fd = file.get(),
              .offset = 0,
              .buffers = {iovec_of(ConstBytes(out))},
              .done = [&](Result<void> status) { outcome = std::move(status); }});
    }).join();
    while (!outcome) loop->run_once(kNsPerSecond);
    ASSERT_TRUE(*outcome) << outcome->error().text;
  }
}

// What only io_uring can do with descriptors that make it wait.
TEST(UringEngine, ResumesShortReadsAndCancelsWaitingOnes) {
  LiveTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  WorkerPool pool(*loop, 1);
  auto made = IoEngine::create(*loop, pool, IoEngineKind::Uring);
  if (!made) GTEST_SKIP() << made.error().text;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd from(ends[0]), to(ends[1]);
  const MachineLock::Guard guard(lock);

  std::vector<std::byte> in(10);
  std::optional<Result<void>> outcome;
  const auto read = [&] {
    outcome.reset();
    (*made)->submit({.op = IoOp::Read,
                     .fd = from.get(),
                     .offset = 0,
                     .buffers = {iovec_of(Bytes(in).first(3)), iovec_of(Bytes(in).subspan(3))},
                     .done = [&](Result<void> status) { outcome = std::move(status); }});
  };
  read();
  std::thread writer([&] {
    for (const size_t n : {1, 2, 4, 3}) {  // also across the border of the buffers
      static size_t at = 0;
      EXPECT_TRUE(write_all(to.get(), ConstBytes(pattern(10)).subspan(at, n)));
      at += n;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  (*made)->drain();
  writer.join();
  ASSERT_TRUE(*outcome);
  EXPECT_EQ(in, pattern(10));

  read();  // nobody writes
  (*made)->cancel();
  (*made)->drain();
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(outcome->error().code, Errc::Cancelled);
}

TEST(IoEngine, AutoAlwaysFindsAnEngine) {
  LiveTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  WorkerPool pool(*loop, 1);
  // No descriptor is left for a ring: as on a host that refuses io_uring.
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  auto uring = IoEngine::create(*loop, pool, IoEngineKind::Uring);
  auto any = IoEngine::create(*loop, pool);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_FALSE(uring);
  EXPECT_TRUE(uring.error().text.starts_with("Setting up io_uring: ")) << uring.error().text;
  ASSERT_TRUE(any);
  EXPECT_EQ((*any)->name(), "workers");
}

}  // namespace
}  // namespace menura
