// UniqueFd: sole owner of a host file descriptor; closes it at the end of its life.
//
// Owner: base. Threads: a value. Example: `UniqueFd fd = TRY(open_file("/dev/kvm", O_RDWR));`
#pragma once

#include <string>
#include <utility>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC; the error names the path.
Result<UniqueFd> open_file(const std::string& path, int flags, unsigned mode = 0666);

// An eventfd(2), non-blocking and close-on-exec.
Result<UniqueFd> make_eventfd();

// Moves all bytes, through short transfers and EINTR. A short file is Errc::Corrupt.
Result<void> read_all(int fd, Bytes to);
Result<void> pread_all(int fd, Bytes to, u64 offset);
Result<void> write_all(int fd, ConstBytes from);
Result<void> pwrite_all(int fd, ConstBytes from, u64 offset);

// A whole file of at most limit bytes.
Result<std::string> read_file(const std::string& path, u64 limit);

}  // namespace menura
