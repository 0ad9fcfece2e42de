#include "event/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/units.h"

namespace menura {
namespace {

TEST(SignalWatch, SignalsBecomeCallbacksInTheLoop) {
  LiveTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  std::vector<int> seen;
  auto watch = SignalWatch::create(*loop, {SIGUSR1, SIGTERM}, [&](int signal) {
    EXPECT_TRUE(lock.held());
    seen.push_back(signal);
  });
  ASSERT_TRUE(watch);
  EXPECT_FALSE(loop->run_once(0));
  ::kill(::getpid(), SIGUSR1);
  ::kill(::getpid(), SIGTERM);
  while (seen.size() < 2) ASSERT_TRUE(loop->run_once(kNsPerSecond));
  EXPECT_EQ(seen, (std::vector<int>{SIGUSR1, SIGTERM}));  // the kernel's order: by number
}

TEST(SignalWatch, MayEndInsideItsCallbackAndRestoresTheMask) {
  LiveTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  std::unique_ptr<SignalWatch> watch;
  int seen = 0;
  watch = SignalWatch::create(*loop, {SIGUSR2}, [&](int signal) {
            watch.reset();
            seen = signal;
          }).value();
  ::kill(::getpid(), SIGUSR2);
  while (watch) ASSERT_TRUE(loop->run_once(kNsPerSecond));
  EXPECT_EQ(seen, SIGUSR2);
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_FALSE(::sigismember(&mask, SIGUSR2));
}

}  // namespace
}  // namespace menura
