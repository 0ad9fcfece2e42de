#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

namespace menura {
namespace {

struct Pipe {
  UniqueFd from, to;
  Pipe() {
    int ends[2];
    ensure(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
    from = UniqueFd(ends[0]);
    to = UniqueFd(ends[1]);
  }
};

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

std::vector<std::byte> pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<std::byte>((i * 7) & 0xff);
  return bytes;
}

TEST(UniqueFd, OwnsOneDescriptor) {
  Pipe pipe;
  const int number = pipe.from.get();
  UniqueFd moved = std::move(pipe.from);
  EXPECT_EQ(moved.get(), number);
  EXPECT_FALSE(pipe.from);  // NOLINT: what a moved-from descriptor is
  moved = std::move(pipe.to);
  EXPECT_FALSE(is_open(number)) << "closed by the assignment";
  const int released = moved.release();
  moved.reset();
  EXPECT_TRUE(is_open(released));
  ::close(released);
}

TEST(UniqueFd, ZeroIsADescriptor) {
  EXPECT_TRUE(UniqueFd(::dup(0)));
  EXPECT_FALSE(UniqueFd());
  EXPECT_FALSE(UniqueFd(-1));
}

TEST(Fd, OpenedFilesCloseOnExec) {
  const UniqueFd fd = open_file("/dev/null", O_RDWR).value();
  EXPECT_TRUE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
  const Result<UniqueFd> absent = open_file("/no/such/file", O_RDONLY);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Errc::NotFound);
  EXPECT_EQ(absent.error().text, "Opening '/no/such/file': No such file or directory");
  const UniqueFd event = make_eventfd().value();
  EXPECT_TRUE(::fcntl(event.get(), F_GETFL) & O_NONBLOCK);
}

// A pipe gives what is there, not what was asked for.
TEST(Fd, ShortReadsAndWritesGoOn) {
  Pipe pipe;
  const auto out = pattern(1'000'000);  // far more than a pipe holds
  std::thread writer([&] { EXPECT_TRUE(write_all(pipe.to.get(), out)); });
  std::vector<std::byte> in(out.size());
  EXPECT_TRUE(read_all(pipe.from.get(), in));
  writer.join();
  EXPECT_EQ(in, out);
  EXPECT_TRUE(read_all(pipe.from.get(), {})) << "nothing asked, nothing waited for";
}

TEST(Fd, AnEndBeforeAllBytesIsCorrupt) {
  Pipe pipe;
  ASSERT_TRUE(write_all(pipe.to.get(), pattern(3)));
  pipe.to.reset();
  std::vector<std::byte> in(5);
  const Result<void> status = read_all(pipe.from.get(), in);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::Corrupt);
  EXPECT_EQ(status.error().text, "Reading: end of file after 3 of 5 bytes");
}

// Interrupted by signals that do not restart system calls.
TEST(Fd, InterruptedTransfersGoOn) {
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, &before);
  Pipe pipe;
  const auto out = pattern(500'000);
  std::vector<std::byte> in(out.size());
  std::atomic<bool> over{false};
  std::thread reader([&] {
    EXPECT_TRUE(read_all(pipe.from.get(), in));
    over = true;
  });
  const pthread_t handle = reader.native_handle();
  std::thread writer([&] {
    for (size_t at = 0; at < out.size(); at += 10'000) {
      EXPECT_TRUE(write_all(pipe.to.get(), ConstBytes(out).subspan(at, 10'000)));
      ::pthread_kill(handle, SIGUSR1);
      ::usleep(100);
    }
  });
  writer.join();
  reader.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(in, out);
}

TEST(Fd, PositionedTransfersLeaveTheOffset) {
  char name[] = "/tmp/menura-fd-XXXXXX";
  const UniqueFd file(::mkstemp(name));
  const auto out = pattern(10'000);
  ASSERT_TRUE(pwrite_all(file.get(), out, 5));
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 0);
  std::vector<std::byte> in(out.size());
  ASSERT_TRUE(pread_all(file.get(), in, 5));
  EXPECT_EQ(in, out);
  EXPECT_EQ(pread_all(file.get(), in, 6).error().code, Errc::Corrupt);
  EXPECT_EQ(read_file(name, 10'005).value().size(), 10'005u);
  const Result<std::string> large = read_file(name, 10'004);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Errc::OutOfRange);
  ::unlink(name);
  EXPECT_FALSE(read_file("/dev/zero", 100'000)) << "an endless file is refused, not read";
  EXPECT_FALSE(read_file("/", 100)) << "a directory";
  EXPECT_EQ(read_file("/dev/null", 0).value(), "");
}

TEST(Fd, HostErrorsAreReported) {
  const UniqueFd full = open_file("/dev/full", O_WRONLY).value();
  EXPECT_EQ(write_all(full.get(), pattern(10)).error().code, Errc::NoSpace);
  std::vector<std::byte> in(1);
  EXPECT_EQ(read_all(-1, in).error().os_errno, EBADF);
  Pipe pipe;
  ::fcntl(pipe.from.get(), F_SETFL, O_NONBLOCK);
  EXPECT_EQ(read_all(pipe.from.get(), in).error().code, Errc::Busy);
}

}  // namespace
}  // namespace menura
