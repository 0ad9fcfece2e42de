// NonBlocking: a descriptor we were given (standard input, say), to be used without ever blocking
// and without changing it for the other processes that share its open file description.
//
// Owner: its chardev. Threads: none. Regular files stay as they are: they never block.
// Example: `NonBlocking in = TRY(NonBlocking::open(STDIN_FILENO));`
#pragma once

#include "base/fd.h"

namespace menura {

class NonBlocking {
 public:
  // fd stays open for as long as the result lives. EBADF and the like are Errors.
  static Result<NonBlocking> open(int fd);
  NonBlocking(NonBlocking&& other) noexcept
      : reopened_(std::move(other.reopened_)),
        fd_(std::exchange(other.fd_, -1)),
        flags_before_(std::exchange(other.flags_before_, -1)) {}
  NonBlocking& operator=(NonBlocking&&) = delete;
  ~NonBlocking();

  int get() const { return reopened_ ? reopened_.get() : fd_; }

 private:
  NonBlocking() = default;
  UniqueFd reopened_;  // our own description of the same file
  int fd_ = -1;
  int flags_before_ = -1;  // to be restored, when there could be none
};

// Sets O_NONBLOCK on a descriptor that is ours alone.
Result<void> set_non_blocking(int fd);

}  // namespace menura
