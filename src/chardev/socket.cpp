// The stream socket chardev: a server that serves one client after the other, or a client that
// connects once or again and again.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd_sets.h"
#include "base/log.h"
#include "base/socket_address.h"
#include "base/units.h"
#include "chardev/kinds.h"
#include "chardev/nonblocking.h"
#include "chardev/stream.h"

namespace menura {

namespace {

// Of descriptors that nobody took; more are closed, so that a peer cannot use up ours.
constexpr size_t kMostFds = 16;

// The descriptors of a message, ours from now on.
std::vector<UniqueFd> fds_of(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

// Waits for what a descriptor should become, when there is no loop to wait in.
void wait_for(int fd, short events) {
  pollfd one{fd, events, 0};
  while (::poll(&one, 1, -1) < 0 && errno == EINTR) {}
}

class SocketChardev final : public StreamChardev {
 public:
  SocketChardev(EventLoop& loop, const std::string& id, const SocketConfig& config)
      : StreamChardev(loop, id),
        config_(config),
        retry_timer_(loop.host_time(), [this] { try_connect(); }) {}

  ~SocketChardev() override {
    shut();
    listen_watch_.reset();
    connect_watch_.reset();
    if (!listening_path_.empty()) ::unlink(listening_path_.c_str());
  }

  Result<void> open() {
    if (config_.server && config_.reconnect > 0)
      return fail(Errc::InvalidArgument, "reconnect is for a client, not for a server");
    if (!config_.fd.empty()) return open_inherited(TRY(take_fd(config_.fd)));
    const SocketPlace place{.path = config_.path,
                            .abstract = config_.abstract,
                            .host = config_.host,
                            .port = config_.port,
                            .ipv4 = config_.ipv4,
                            .ipv6 = config_.ipv6};
    addresses_ = TRY(
        SocketAddress::resolve(place, config_.server ? SocketRole::Server : SocketRole::Client));
    if (config_.server) {
      listening_ = TRY(addresses_[0].listen());
      listening_path_ = addresses_[0].file_path();
      return open_server();
    }
    if (config_.reconnect == 0) return connect_now();
    try_connect();
    return {};
  }

  std::vector<UniqueFd> take_fds() override { return std::exchange(received_, {}); }

  std::string where() const override {
    const std::string kept = started() ? "" : "disconnected:";
    if (!listening_) return kept + target_;
    if (started() && SocketAddress::of_socket(connection_.get()).is_internet())
      return format("{},server=on <-> {}", target_,
                    SocketAddress::of_peer(connection_.get()).short_text());
    return format("{}{},server=on", kept, target_);
  }

 private:
  Result<void> open_inherited(UniqueFd fd) {
    if (socket_option(fd.get(), SO_TYPE) != SOCK_STREAM) {
      const int number = fd.release();  // not what was meant: not ours to close
      return fail(Errc::InvalidArgument, "File descriptor {} is not a stream socket", number);
    }
    TRY(set_non_blocking(fd.get()));
    const bool listens = socket_option(fd.get(), SO_ACCEPTCONN) == 1;
    if (listens != config_.server)
      return fail(Errc::InvalidArgument, "File descriptor {} {}, but server={}", fd.get(),
                  listens ? "listens" : "is connected", config_.server ? "on" : "off");
    if (!listens) {
      target_ = SocketAddress::of_peer(fd.get()).text();
      return adopt(std::move(fd));
    }
    listening_ = std::move(fd);
    return open_server();
  }

  Result<void> open_server() {
    target_ = SocketAddress::of_socket(listening_.get()).text();
    if (config_.wait) {
      log_info("waiting for a client on {}", target_);
      while (!started()) {
        wait_for(listening_.get(), POLLIN);
        TRY(accept_client());
      }
    }
    listen_watch_ = TRY(loop().watch(listening_.get(), {.readable = !started()}, [this](FdEvents) {
      const Result<void> status = accept_client();
      if (!status) log_warning("Character device '{}': {}", id(), status.error().text);
    }));
    return {};
  }

  // A client that has left again, or an interrupted call, is no error.
  Result<void> accept_client() {
    UniqueFd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) return {};
    if (!fd) return fail_errno(errno, "Accepting a client on {}", target_);
    if (listen_watch_) listen_watch_.set({});  // the next one waits its turn
    return adopt(std::move(fd));
  }

  Result<void> adopt(UniqueFd fd) {
    const int on = config_.nodelay ? 1 : 0;
    if (SocketAddress::of_socket(fd.get()).is_internet())
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    TRY(start(fd.get(), fd.get()));
    connection_ = std::move(fd);
    tell(CharEvent::Opened);
    return {};
  }

  // At creation, where the answer decides: each address in turn.
  Result<void> connect_now() {
    Result<void> status;
    for (const SocketAddress& address : addresses_) {
      target_ = address.text();
      Result<UniqueFd> fd = address.start_connect();
      if (!fd) {
        status = std::move(fd.error());
        continue;
      }
      wait_for(fd->get(), POLLOUT);
      if (const int os_errno = socket_option(fd->get(), SO_ERROR); os_errno != 0) {
        status = fail_errno(os_errno, "Connecting to {}", target_);
        continue;
      }
      return adopt(std::move(*fd));
    }
    return status;
  }

  // In the loop; each attempt takes the next address.
  void try_connect() {
    const SocketAddress& address = addresses_[attempt_++ % addresses_.size()];
    target_ = address.text();
    Result<UniqueFd> fd = address.start_connect();
    if (!fd) return connect_failed(fd.error());
    connection_ = std::move(*fd);
    Result<Watch> watch = loop().watch(connection_.get(), {.writable = true},
                                       [this](FdEvents) { connect_finished(); });
    if (!watch) return connect_failed(watch.error());
    connect_watch_ = std::move(*watch);
  }

  void connect_finished() {
    connect_watch_.reset();
    if (const int os_errno = socket_option(connection_.get(), SO_ERROR); os_errno != 0)
      return connect_failed(fail_errno(os_errno, "Connecting to {}", target_));
    told_failure_ = false;
    if (const Result<void> status = adopt(std::move(connection_)); !status)
      connect_failed(status.error());
  }

  void connect_failed(const Error& error) {
    connection_.reset();
    if (!std::exchange(told_failure_, true))
      log_warning("Character device '{}': {}; trying again every {} s", id(), error.text,
                  config_.reconnect);
    retry_later();
  }

  void retry_later() {
    retry_timer_.arm(loop().host_time().now_ns() + i64{config_.reconnect} * kNsPerSecond);
  }

  ssize_t read_from(int in, Bytes to) override {
    iovec part{to.data(), to.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostFds * sizeof(int))> control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(in, &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return n;
    for (UniqueFd& fd : fds_of(message))
      if (received_.size() < kMostFds) received_.push_back(std::move(fd));
    return n;
  }

  void ended() override {
    stop();
    connection_.reset();
    received_.clear();
    tell(CharEvent::Closed);
    if (listening_)
      listen_watch_.set({.readable = true});
    else if (config_.reconnect > 0)
      retry_later();
  }

  // Configuration
  const SocketConfig config_;
  // Wiring
  std::vector<SocketAddress> addresses_;
  UniqueFd listening_;
  std::string listening_path_;  // ours to remove
  UniqueFd connection_;
  std::string target_;
  Watch listen_watch_;
  Watch connect_watch_;
  Timer retry_timer_;
  // State
  size_t attempt_ = 0;
  bool told_failure_ = false;
  std::vector<UniqueFd> received_;
};

}  // namespace

ChardevResult open_socket(EventLoop& loop, const std::string& id, const SocketConfig& config) {
  auto chardev = std::make_unique<SocketChardev>(loop, id, config);
  TRY(chardev->open());
  return ChardevResult(std::move(chardev));
}

}  // namespace menura
