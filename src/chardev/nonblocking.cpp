#include "chardev/nonblocking.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace menura {

Result<NonBlocking> NonBlocking::open(int fd) {
  struct stat info {};
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fstat(fd, &info) != 0)
    return fail_errno(errno, "Looking at file descriptor {}", fd);
  NonBlocking self;
  self.fd_ = fd;
  if (S_ISREG(info.st_mode) || (flags & O_NONBLOCK)) return self;
  // Opening it anew gives a description of our own; sockets cannot be, and /proc may be absent.
  const int access = flags & O_ACCMODE;
  Result<UniqueFd> reopened =
      open_file(format("/proc/self/fd/{}", fd), access | O_NONBLOCK | O_NOCTTY);
  if (reopened) {
    self.reopened_ = std::move(*reopened);
    return self;
  }
  if (::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno(errno, "Making file descriptor {} non-blocking", fd);
  self.flags_before_ = flags;
  return self;
}

NonBlocking::~NonBlocking() {
  if (flags_before_ >= 0) ::fcntl(fd_, F_SETFL, flags_before_);
}

Result<void> set_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno(errno, "Making file descriptor {} non-blocking", fd);
  return {};
}

}  // namespace menura
