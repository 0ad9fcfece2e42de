#include "app/nbd/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace menura::nbd {

Result<Background> Background::start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Making a pipe");
  UniqueFd from_child(ends[0]), to_parent(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "Forking");
  Background background;
  if (child == 0) {
    ::setsid();
    background.to_parent_ = std::move(to_parent);
    return background;
  }
  to_parent.reset();
  std::byte ready;
  background.parent_status_ = EXIT_SUCCESS;
  if (read_all(from_child.get(), {&ready, 1})) return background;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  const bool told = WIFEXITED(status) && WEXITSTATUS(status) != 0;
  background.parent_status_ = told ? WEXITSTATUS(status) : EXIT_FAILURE;
  return background;
}

Result<void> Background::ready() {
  if (!to_parent_) return {};
  const UniqueFd nowhere = TRY(open_file("/dev/null", O_RDWR));
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::dup2(nowhere.get(), stream) < 0) return fail_errno(errno, "Leaving the terminal");
  constexpr std::byte kReady{1};
  TRY(write_all(to_parent_.get(), {&kReady, 1}));
  to_parent_.reset();
  return {};
}

}  // namespace menura::nbd
