#include "chardev/terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace menura {

namespace {

// The signals that end a program by default, and SIGCONT, after which the shell has set the
// terminal to its own liking.
constexpr std::array kSignals = {SIGHUP, SIGINT,  SIGQUIT, SIGILL,  SIGABRT, SIGBUS,
                                 SIGFPE, SIGSEGV, SIGTERM, SIGXCPU, SIGSYS,  SIGCONT};

// What a signal handler needs, which can hold on to nothing else: the process has one terminal.
// Written only while fd is -1. tcsetattr(3) and raise(3) are safe in signal handlers.
struct TheTerminal {
  std::atomic<int> fd{-1};
  termios before{};
  termios raw{};
};
constinit TheTerminal the_terminal;
static_assert(std::atomic<int>::is_always_lock_free);

void restore() {
  if (const int fd = the_terminal.fd.load(); fd >= 0)
    ::tcsetattr(fd, TCSANOW, &the_terminal.before);
}

void on_fatal_signal(int signal) {
  restore();
  ::raise(signal);  // SA_RESETHAND: now with its default, or once we have returned
}

void on_continue(int) {
  const int saved_errno = errno;
  if (const int fd = the_terminal.fd.load(); fd >= 0) ::tcsetattr(fd, TCSANOW, &the_terminal.raw);
  errno = saved_errno;
}

// Handlers that somebody else has set stay.
void set_handlers(bool on) {
  for (const int signal : kSignals) {
    const auto ours = signal == SIGCONT ? on_continue : on_fatal_signal;
    struct sigaction present {};
    ::sigaction(signal, nullptr, &present);
    if (present.sa_flags & SA_SIGINFO) continue;
    if (present.sa_handler != (on ? SIG_DFL : ours)) continue;
    struct sigaction wanted {};
    wanted.sa_handler = on ? ours : SIG_DFL;
    wanted.sa_flags = signal == SIGCONT ? SA_RESTART : SA_RESETHAND;
    ::sigaction(signal, &wanted, nullptr);
  }
}

}  // namespace

Result<std::unique_ptr<RawTerminal>> RawTerminal::enter(int fd, KeySignals key_signals) {
  if (the_terminal.fd.load() >= 0)
    return fail(Errc::Busy, "Setting up the terminal: it is in use by another character device");
  termios before{};
  if (::tcgetattr(fd, &before) != 0) return fail_errno(errno, "Reading the terminal's settings");
  termios raw = before;
  ::cfmakeraw(&raw);
  raw.c_oflag |= OPOST;  // lines that others print still end at the left margin
  if (key_signals == KeySignals::On) raw.c_lflag |= ISIG;
  the_terminal.before = before;
  the_terminal.raw = raw;
  the_terminal.fd = fd;
  static const int registered = std::atexit(restore);
  (void)registered;
  set_handlers(true);
  std::unique_ptr<RawTerminal> self(new RawTerminal);
  if (::tcsetattr(fd, TCSANOW, &raw) != 0)
    return fail_errno(errno, "Changing the terminal's settings");
  return self;
}

RawTerminal::~RawTerminal() {
  restore();
  the_terminal.fd = -1;
  set_handlers(false);
}

}  // namespace menura
