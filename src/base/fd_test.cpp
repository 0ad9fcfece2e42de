#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace menura {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end, write_end;
};

TEST(Fd, ClosesOnceAndOnlyWhatItOwns) {
  UniqueFd first = make_eventfd().value();
  const int number = first.get();
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: moved from, by its contract empty
  EXPECT_TRUE(is_open(number));
  UniqueFd third = make_eventfd().value();
  const int other = third.get();
  third = std::move(second);
  EXPECT_FALSE(is_open(other));
  EXPECT_EQ(third.release(), number);
  EXPECT_TRUE(is_open(number));
  UniqueFd(number).reset();
  EXPECT_FALSE(is_open(number));
}

TEST(Fd, IsNotInheritedByOtherPrograms) {
  const UniqueFd null = open_file("/dev/null", O_RDWR).value();
  EXPECT_NE(::fcntl(null.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(make_eventfd().value().get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(Fd, AFileThatIsMissingIsNamed) {
  const Error error = open_file("/nowhere/at/all", O_RDONLY).error();
  EXPECT_EQ(error.code, Errc::NotFound);
  EXPECT_EQ(error.text, "Opening '/nowhere/at/all': No such file or directory");
}

TEST(Fd, ShortTransfersAreContinued) {
  Pipe pipe;
  std::string sent(300'000, 'x');  // more than a pipe holds
  sent.back() = 'y';
  std::thread writer([&] { EXPECT_TRUE(write_all(pipe.write_end.get(), bytes_of(sent))); });
  std::string received(sent.size(), '\0');
  EXPECT_TRUE(read_all(pipe.read_end.get(), writable_bytes_of(received)));
  writer.join();
  EXPECT_EQ(received, sent);
}

TEST(Fd, AShortFileIsCorrupt) {
  Pipe pipe;
  ASSERT_TRUE(write_all(pipe.write_end.get(), bytes_of(std::string("abc"))));
  pipe.write_end.reset();
  std::array<std::byte, 8> buffer;
  const Result<void> read = read_all(pipe.read_end.get(), buffer);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::Corrupt);
  EXPECT_EQ(read.error().text, "Reading: end of file after 3 of 8 bytes");
}

TEST(Fd, PositionedTransfers) {
  const UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  ASSERT_TRUE(pwrite_all(file.get(), bytes_of(std::string("hello")), 5 * (u64{1} << 32)));
  std::string read(5, '\0');
  ASSERT_TRUE(pread_all(file.get(), writable_bytes_of(read), 5 * (u64{1} << 32)));
  EXPECT_EQ(read, "hello");
  EXPECT_EQ(pread_all(file.get(), writable_bytes_of(read), 5 * (u64{1} << 32) + 1).error().code,
            Errc::Corrupt);
}

TEST(Fd, WholeFilesHaveALimit) {
  EXPECT_EQ(read_file("VERSION", 100).value().substr(0, 2), "0.");
  EXPECT_EQ(read_file("/dev/zero", 100'000).error().code, Errc::OutOfRange);
  EXPECT_EQ(read_file("/", 100).error().text, "Reading '/': Is a directory");
}

}  // namespace
}  // namespace menura
