// Frames over a stream socket, each behind its length as 32 bits, most significant byte first; the
// kinds stream and socket (listen, connect, fd). A server serves one peer after the other.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/fd_sets.h"
#include "base/log.h"
#include "base/units.h"
#include "net/kinds.h"
#include "net/net_address.h"

namespace menura {

namespace {

constexpr size_t kLengthSize = 4;
constexpr size_t kBuffer = 2 * (kMaxFrame + kLengthSize);

struct Plan {
  std::optional<SocketAddress> listen;
  std::optional<SocketAddress> connect;
  i64 reconnect_ns = 0;
  UniqueFd connected;
  UniqueFd listening;
};

class StreamNet final : public Netdev {
 public:
  StreamNet(const NetdevContext& context, Plan plan)
      : plan_(std::move(plan)),
        loop_(context.loop),
        id_(context.id),
        retry_timer_(loop_.host_time(), [this] { try_connect(); }),
        input_(kBuffer) {}
  ~StreamNet() override {
    sink_ = nullptr;
    close();
    listen_watch_.reset();
    if (plan_.listen && !plan_.listen->file_path().empty())
      ::unlink(plan_.listen->file_path().c_str());
  }

  Result<void> open() {
    if (plan_.listen) plan_.listening = TRY(plan_.listen->listen());
    if (plan_.listening) {
      listen_watch_ = TRY(loop_.watch(plan_.listening.get(), {.readable = true},
                                      [this](FdEvents) { accept_peer(); }));
      return {};
    }
    if (plan_.connected) return adopt(std::move(plan_.connected));
    if (plan_.reconnect_ns == 0) return connect_now();
    try_connect();
    return {};
  }

  bool send(const NetPacket& packet) override;
  void attach(NetSink* sink) override {
    sink_ = sink;
    sink_full_ = false;
    update_interest();
  }
  void accept_input() override {
    if (!std::exchange(sink_full_, false)) return;
    deliver();
    update_interest();
  }
  std::string where() const override {
    if (fd_) return "stream=" + SocketAddress::of_peer(fd_.get()).text();
    if (plan_.listening) return "listen=" + SocketAddress::of_socket(plan_.listening.get()).text();
    return plan_.connect ? "disconnected=" + plan_.connect->text() : "disconnected";
  }

 private:
  Result<void> connect_now();
  void try_connect();
  void connect_finished();
  void connect_failed(const Error& error);
  void retry_later() { retry_timer_.arm(loop_.host_time().now_ns() + plan_.reconnect_ns); }
  void accept_peer();
  Result<void> adopt(UniqueFd fd);
  void close();
  void lost_peer(std::string_view why);
  void update_interest();
  void on_events(FdEvents events);
  void read_input();
  void deliver();
  bool flush();

  // Configuration
  Plan plan_;
  // Wiring
  EventLoop& loop_;
  const std::string id_;
  NetSink* sink_ = nullptr;
  UniqueFd fd_;
  Watch watch_;
  Watch listen_watch_;
  Timer retry_timer_;
  // State
  std::vector<std::byte> input_;
  size_t input_size_ = 0;
  std::vector<std::byte> output_;  // the rest of a frame that the socket did not take whole
  bool sink_full_ = false;
  bool sender_waits_ = false;
  bool delivering_ = false;
  bool connecting_ = false;
  bool told_failure_ = false;
};

// At creation, where the answer decides.
Result<void> StreamNet::connect_now() {
  UniqueFd fd = TRY(plan_.connect->start_connect());
  pollfd one{fd.get(), POLLOUT, 0};
  while (::poll(&one, 1, -1) < 0 && errno == EINTR) {}
  if (const int os_errno = socket_option(fd.get(), SO_ERROR); os_errno != 0)
    return fail_errno(os_errno, "Connecting to {}", plan_.connect->text());
  return adopt(std::move(fd));
}

void StreamNet::try_connect() {
  Result<UniqueFd> fd = plan_.connect->start_connect();
  if (!fd) return connect_failed(fd.error());
  Result<Watch> watch =
      loop_.watch(fd->get(), {.writable = true}, [this](FdEvents) { connect_finished(); });
  if (!watch) return connect_failed(watch.error());
  fd_ = std::move(*fd);
  watch_ = std::move(*watch);
  connecting_ = true;
}

void StreamNet::connect_finished() {
  watch_.reset();
  connecting_ = false;
  UniqueFd fd = std::move(fd_);
  if (const int os_errno = socket_option(fd.get(), SO_ERROR); os_errno != 0)
    return connect_failed(fail_errno(os_errno, "Connecting to {}", plan_.connect->text()));
  told_failure_ = false;
  if (const Result<void> status = adopt(std::move(fd)); !status) connect_failed(status.error());
}

void StreamNet::connect_failed(const Error& error) {
  if (!std::exchange(told_failure_, true))
    log_warning("Network back end '{}': {}; trying again", id_, error.text);
  retry_later();
}

void StreamNet::accept_peer() {
  UniqueFd fd(::accept4(plan_.listening.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;        // it has left again
  listen_watch_.set({});  // the next one waits its turn
  if (const Result<void> status = adopt(std::move(fd)); !status) {
    log_warning("Network back end '{}': {}", id_, status.error().text);
    listen_watch_.set({.readable = true});
  }
}

Result<void> StreamNet::adopt(UniqueFd fd) {
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // of TCP only; no matter
  watch_ = TRY(loop_.watch(fd.get(), {}, [this](FdEvents events) { on_events(events); }));
  fd_ = std::move(fd);
  update_interest();
  return {};
}

void StreamNet::close() {
  watch_.reset();
  fd_.reset();
  connecting_ = false;
  input_size_ = 0;
  output_.clear();
  sink_full_ = false;
  if (std::exchange(sender_waits_, false) && sink_) sink_->writable();
}

void StreamNet::lost_peer(std::string_view why) {
  if (!why.empty()) log_warning("Network back end '{}': {}", id_, why);
  close();
  if (plan_.listening)
    listen_watch_.set({.readable = true});
  else if (plan_.reconnect_ns > 0)
    retry_later();
}

void StreamNet::update_interest() {
  if (watch_ && !connecting_)
    watch_.set({.readable = sink_ && !sink_full_, .writable = !output_.empty()});
}

bool StreamNet::send(const NetPacket& packet) {
  if (!fd_ || connecting_) return true;  // nobody there
  if (!output_.empty()) {
    sender_waits_ = true;
    return false;
  }
  std::array<std::byte, kLengthSize> length;
  store_be<u32>(length, 0, static_cast<u32>(packet.frame.size()));
  iovec parts[] = {{length.data(), length.size()},
                   {const_cast<std::byte*>(packet.frame.data()), packet.frame.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t sent = 0;
  do sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno != EAGAIN) return true;  // reading finds out why
  const size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
  if (taken == kLengthSize + packet.frame.size()) return true;
  output_.assign(length.begin() + static_cast<std::ptrdiff_t>(std::min(taken, kLengthSize)),
                 length.end());
  const size_t in_frame = taken > kLengthSize ? taken - kLengthSize : 0;
  output_.insert(output_.end(), packet.frame.begin() + static_cast<std::ptrdiff_t>(in_frame),
                 packet.frame.end());
  update_interest();
  return true;
}

// False when the peer is lost.
bool StreamNet::flush() {
  const ssize_t sent = ::send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (sent < 0) {
    lost_peer({});
    return false;
  }
  output_.erase(output_.begin(), output_.begin() + sent);
  if (output_.empty() && std::exchange(sender_waits_, false) && sink_) sink_->writable();
  update_interest();
  return true;
}

void StreamNet::on_events(FdEvents events) {
  if (events.writable && !output_.empty() && !flush()) return;
  if (events.readable || events.hangup) read_input();
}

void StreamNet::read_input() {
  if (!sink_ || sink_full_) return;
  const ssize_t got = ::read(fd_.get(), input_.data() + input_size_, input_.size() - input_size_);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return lost_peer({});
  input_size_ += static_cast<size_t>(got);
  deliver();
  update_interest();
}

// The frames that are complete, as long as the sink is ready.
void StreamNet::deliver() {
  if (std::exchange(delivering_, true)) return;
  size_t at = 0;
  bool broken = false;
  while (input_size_ - at >= kLengthSize && sink_) {
    const u32 size = load_be<u32>(input_, at);
    broken = size > kMaxFrame;
    if (broken || input_size_ - at - kLengthSize < size) break;
    sink_full_ = !sink_->ready();
    if (sink_full_) break;
    const auto start = input_.begin() + static_cast<std::ptrdiff_t>(at + kLengthSize);
    if (size > 0)
      loop_.tape().input([this, frame = std::vector(start, start + size)] {
        if (sink_) sink_->receive({.frame = frame});
      });
    at += kLengthSize + size;
  }
  const auto left = input_.begin() + static_cast<std::ptrdiff_t>(at);
  std::copy(left, input_.begin() + static_cast<std::ptrdiff_t>(input_size_), input_.begin());
  input_size_ -= at;
  delivering_ = false;
  if (broken) lost_peer("The peer sent a frame longer than any may be");
}

NetdevResult made(const NetdevContext& context, Plan plan) {
  auto net = std::make_unique<StreamNet>(context, std::move(plan));
  TRY(net->open());
  return NetdevResult(std::move(net));
}

}  // namespace

NetdevResult open_stream_net(const NetdevContext& context, const StreamNetConfig& config) {
  if (config.server && (config.reconnect > 0 || config.reconnect_ms > 0))
    return fail(Errc::InvalidArgument, "reconnect is for a client, not for a server");
  if (config.reconnect > 0 && config.reconnect_ms > 0)
    return fail(Errc::InvalidArgument, "reconnect and reconnect-ms are two words for one thing");
  Plan plan;
  plan.reconnect_ns = config.reconnect * kNsPerSecond + config.reconnect_ms * kNsPerMs;
  if (config.addr.type == NetAddress::Type::Fd) {
    UniqueFd fd = TRY(inherited_socket(config.addr.str));
    if (socket_option(fd.get(), SO_TYPE) != SOCK_STREAM)
      return fail(Errc::InvalidArgument, "Descriptor {} is not a stream socket", fd.release());
    (config.server ? plan.listening : plan.connected) = std::move(fd);
    return made(context, std::move(plan));
  }
  (config.server ? plan.listen : plan.connect) = TRY(resolve(
      config.addr, SocketType::Stream, config.server ? SocketRole::Server : SocketRole::Client));
  return made(context, std::move(plan));
}

NetdevResult open_socket_net(const NetdevContext& context, const SocketNetConfig& config) {
  const std::string* const ways[] = {&config.fd, &config.listen, &config.connect, &config.mcast,
                                     &config.udp};
  const auto given = std::count_if(std::begin(ways), std::end(ways),
                                   [](const std::string* way) { return !way->empty(); });
  if (given != 1)
    return fail(Errc::InvalidArgument,
                "exactly one of fd, listen, connect, mcast and udp is to be "
                "given, not {}",
                given);
  if (!config.localaddr.empty() && config.mcast.empty() && config.udp.empty())
    return fail(Errc::InvalidArgument, "localaddr= goes with mcast= and udp=");
  Plan plan;
  if (!config.listen.empty()) {
    plan.listen = TRY(resolve(config.listen, SocketType::Stream, SocketRole::Server));
  } else if (!config.connect.empty()) {
    plan.connect = TRY(resolve(config.connect, SocketType::Stream, SocketRole::Client));
  } else {
    if (config.fd.empty()) return open_socket_datagrams(context, config);
    const int fd = TRY(take_fd(config.fd)).release();
    SocketNetConfig numbered = config;
    numbered.fd = std::to_string(fd);
    if (socket_option(fd, SO_TYPE) != SOCK_STREAM) return open_socket_datagrams(context, numbered);
    plan.connected = TRY(inherited_socket(numbered.fd));
  }
  return made(context, std::move(plan));
}

}  // namespace menura
