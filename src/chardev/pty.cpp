#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/log.h"
#include "base/units.h"
#include "chardev/kinds.h"
#include "chardev/stream.h"

namespace menura {

namespace {

constexpr i64 kPollPeriod = kNsPerSecond;

// The kernel reports the master's hang-up for as long as nobody has the other end open, and does
// not tell when somebody opens it. inotify(7) does; where its instances have run out, a timer looks.
class PtyChardev final : public StreamChardev {
 public:
  PtyChardev(EventLoop& loop, const std::string& id)
      : StreamChardev(loop, id), poll_timer_(loop.host_time(), [this] { look(); }) {}
  ~PtyChardev() override {
    shut();
    opened_watch_.reset();
  }

  Result<void> open() {
    master_ = UniqueFd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    std::array<char, 128> path{};
    if (!master_ || ::grantpt(master_.get()) != 0 || ::unlockpt(master_.get()) != 0 ||
        ::ptsname_r(master_.get(), path.data(), path.size()) != 0)
      return fail_errno(errno, "Creating a pseudo-terminal");
    path_ = path.data();
    // Raw, so that bytes pass unchanged; closing it again leaves the master hung up.
    const UniqueFd slave = TRY(open_file(path_, O_RDWR | O_NOCTTY));
    termios settings{};
    if (::tcgetattr(slave.get(), &settings) != 0)
      return fail_errno(errno, "Reading the settings of '{}'", path_);
    ::cfmakeraw(&settings);
    if (::tcsetattr(slave.get(), TCSANOW, &settings) != 0)
      return fail_errno(errno, "Changing the settings of '{}'", path_);
    watch_for_openers();
    log_info("char device redirected to {} (label {})", path_, id());
    return {};
  }
  std::string where() const override { return "pty:" + path_; }

 private:
  void watch_for_openers() {
    inotify_ = UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (inotify_ && ::inotify_add_watch(inotify_.get(), path_.c_str(), IN_OPEN) >= 0) {
      Result<Watch> watch = loop().watch(inotify_.get(), {.readable = true}, [this](FdEvents) {
        std::array<char, 4096> events;
        while (::read(inotify_.get(), events.data(), events.size()) > 0) {}
        look();
      });
      if (watch) opened_watch_ = std::move(*watch);
    }
    wait_for_opener();
  }

  void wait_for_opener() {
    if (!opened_watch_) poll_timer_.arm(loop().host_time().now_ns() + kPollPeriod);
  }

  void look() {
    if (started()) return;
    pollfd master{master_.get(), POLLIN, 0};
    ::poll(&master, 1, 0);
    // Who wrote and closed again has left bytes behind the hang-up.
    if ((master.revents & POLLHUP) && !(master.revents & POLLIN)) return wait_for_opener();
    if (const Result<void> status = start(master_.get(), master_.get()); !status) {
      log_error("{}", status.error().text);
      return wait_for_opener();
    }
    tell(CharEvent::Opened);
  }

  void ended() override {
    stop();
    tell(CharEvent::Closed);
    look();  // somebody may have opened it since
  }

  // Wiring
  UniqueFd master_;
  UniqueFd inotify_;
  Watch opened_watch_;
  Timer poll_timer_;
  std::string path_;
};

}  // namespace

ChardevResult open_pty(EventLoop& loop, const std::string& id, const PtyConfig&) {
  auto chardev = std::make_unique<PtyChardev>(loop, id);
  TRY(chardev->open());
  return ChardevResult(std::move(chardev));
}

}  // namespace menura
