#include "event/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace menura {

void leave_signals_to_main_thread() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<std::unique_ptr<SignalWatch>> SignalWatch::create(EventLoop& loop,
                                                         std::initializer_list<int> signals,
                                                         std::function<void(int)> callback) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno(errno, "Creating a signalfd");
  std::unique_ptr<SignalWatch> self(new SignalWatch(std::move(callback)));
  ::pthread_sigmask(SIG_BLOCK, &set, &self->mask_before_);
  self->fd_ = std::move(fd);
  self->watch_ = TRY(loop.watch(self->fd_.get(), {.readable = true},
                                [raw = self.get()](FdEvents) { raw->read_signals(); }));
  return Result<std::unique_ptr<SignalWatch>>(std::move(self));
}

SignalWatch::~SignalWatch() {
  watch_.reset();
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

// One a round: the callback may destroy us.
void SignalWatch::read_signals() {
  signalfd_siginfo info{};
  if (::read(fd_.get(), &info, sizeof info) != sizeof info) return;
  const auto callback = callback_;
  callback(static_cast<int>(info.ssi_signo));
}

}  // namespace menura
