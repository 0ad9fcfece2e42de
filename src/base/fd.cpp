#include "base/fd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd_sets.h"
#include "base/units.h"

namespace menura {

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<UniqueFd> open_file(const std::string& path, int flags, unsigned mode) {
  if (path.starts_with(kFdSetPath))
    return open_from_fd_set(
        static_cast<u32>(TRY(parse_u64(std::string_view(path).substr(kFdSetPath.size())))), flags);
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return fail_errno(errno, "Opening '{}'", path);
  return UniqueFd(fd);
}

Result<UniqueFd> make_eventfd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return fail_errno(errno, "Creating an eventfd");
  return UniqueFd(fd);
}

namespace {

// Repeats transfer(done) until size bytes have moved.
template <class Transfer>
Result<void> transfer_all(size_t size, const char* what, Transfer transfer) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = transfer(done);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0) {
      return fail(Errc::Corrupt, "{}: end of file after {} of {} bytes", what, done, size);
    } else if (errno != EINTR) {
      return fail_errno(errno, "{} {} bytes", what, size);
    }
  }
  return {};
}

}  // namespace

Result<void> read_all(int fd, Bytes to) {
  return transfer_all(to.size(), "Reading",
                      [&](size_t done) { return ::read(fd, &to[done], to.size() - done); });
}

Result<void> pread_all(int fd, Bytes to, u64 offset) {
  return transfer_all(to.size(), "Reading", [&](size_t done) {
    return ::pread(fd, &to[done], to.size() - done, static_cast<off_t>(offset + done));
  });
}

Result<void> write_all(int fd, ConstBytes from) {
  return transfer_all(from.size(), "Writing",
                      [&](size_t done) { return ::write(fd, &from[done], from.size() - done); });
}

Result<void> pwrite_all(int fd, ConstBytes from, u64 offset) {
  return transfer_all(from.size(), "Writing", [&](size_t done) {
    return ::pwrite(fd, &from[done], from.size() - done, static_cast<off_t>(offset + done));
  });
}

Result<std::string> read_file(const std::string& path, u64 limit) {
  const UniqueFd fd = TRY(open_file(path, O_RDONLY));
  std::string content;
  char chunk[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n == 0) return content;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Reading '{}'", path);
    content.append(chunk, static_cast<size_t>(n));
    if (content.size() > limit)
      return fail(Errc::OutOfRange, "'{}' is larger than the {} bytes expected at most", path,
                  limit);
  }
}

}  // namespace menura
