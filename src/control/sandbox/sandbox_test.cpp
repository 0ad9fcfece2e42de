#include "control/sandbox/sandbox.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

namespace menura {
namespace {

// How a child process ends that enters the sandbox and then does something: its status, or the
// signal as a negative number.
template <class Action>
int try_in_child(const SandboxOptions& options, Action action) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!enter_sandbox(options)) ::_exit(99);
    action();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void mount_nothing() { (void)::mount("none", "/nonexistent", "none", 0, nullptr); }
void change_user() { (void)::setuid(::getuid()); }
void start_program() { ::execl("/bin/true", "true", nullptr); }
void fork_child() { (void)!::fork(); }
void change_priority() { (void)::setpriority(PRIO_PROCESS, 0, 1); }
void run_thread() {
  std::thread([] {}).join();
}

TEST(SandboxTest, OffIsNoSandbox) { EXPECT_EQ(try_in_child({}, mount_nothing), 0); }

TEST(SandboxTest, ForbidsWhatItSays) {
  using Allowed = SandboxOptions::Allowed;
  using Elevation = SandboxOptions::Elevation;
  const SandboxOptions plain{.enable = true};
  EXPECT_EQ(try_in_child(plain, mount_nothing), -SIGSYS);
  EXPECT_EQ(try_in_child(plain, change_user), 0);
  EXPECT_EQ(try_in_child(plain, start_program), 0);
  EXPECT_EQ(try_in_child(plain, change_priority), 0);
  EXPECT_EQ(try_in_child({.enable = true, .elevateprivileges = Elevation::Deny}, change_user),
            -SIGSYS);
  const SandboxOptions no_spawn{.enable = true, .spawn = Allowed::Deny};
  EXPECT_EQ(try_in_child(no_spawn, start_program), -SIGSYS);
  EXPECT_EQ(try_in_child(no_spawn, fork_child), -SIGSYS);
  EXPECT_EQ(try_in_child(no_spawn, run_thread), 0);
  EXPECT_EQ(try_in_child({.enable = true, .resourcecontrol = Allowed::Deny}, change_priority),
            -SIGSYS);
}

TEST(SandboxTest, ReachesThreadsThatRunAlready) {
  std::atomic<bool> ready{false};
  const int end = try_in_child({}, [&] {
    std::thread other([&] {
      while (!ready) std::this_thread::yield();
      mount_nothing();
    });
    if (!enter_sandbox({.enable = true})) ::_exit(99);
    ready = true;
    other.join();
  });
  EXPECT_EQ(end, -SIGSYS);
}

}  // namespace
}  // namespace menura
