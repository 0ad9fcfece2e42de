#include "display/vnc_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/trace.h"
#include "base/units.h"

namespace menura {

namespace {

TRACE_EVENT(kClosed, "vnc.closed", "{}:{} {}");

constexpr i64 kHandshakeNs = 10 * kNsPerSecond;
// What a client may leave untaken besides one update; and what it may send ahead of us.
constexpr size_t kMaxReplies = 64 * MiB;
constexpr size_t kMaxInput = 256 * KiB;

}  // namespace

VncConnection::VncConnection(EventLoop& loop, RfbHost& host, UniqueFd fd, Config config,
                             std::function<void()> ended)
    : config_(std::move(config)),
      peer_(VncEndpoint::of_peer(fd.get())),
      loop_(loop),
      fd_(std::move(fd)),
      ended_(std::move(ended)),
      deadline_(loop.host_time(), [this] { close("it took too long to come in"); }),
      session_(host, *this) {}

VncConnection::~VncConnection() = default;

Result<void> VncConnection::start() {
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  watch_ = TRY(loop_.watch(fd_.get(), {.readable = true}, [this](FdEvents e) { on_ready(e); }));
  deadline_.arm(loop_.host_time().now_ns() + kHandshakeNs);
  if (config_.websocket && config_.tls) begin_tls();
  if (!config_.websocket) session_.start();
  flush();
  return {};
}

void VncConnection::close(std::string why) {
  if (std::exchange(closed_, true)) return;
  trace(kClosed, peer_.host, peer_.service, why);
  // What is still to be said, as far as it goes: the reason of a refusal.
  if (unsent() > 0)
    (void)::send(fd_.get(), output_.data() + output_sent_, unsent(), MSG_NOSIGNAL | MSG_DONTWAIT);
  deadline_.cancel();
  watch_.reset();
  ended_();
}

void VncConnection::on_ready(FdEvents events) {
  if (events.readable || events.hangup) read_socket();
  if (!closed_) advance();
  if (!closed_) flush();
}

void VncConnection::read_socket() {
  std::array<std::byte, 16384> chunk;
  const ssize_t count = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return close(count == 0 ? "it hung up" : std::strerror(errno));
  const ConstBytes bytes = ConstBytes(chunk).first(static_cast<size_t>(count));
  if (tls_state_ == Tls::Off)
    deliver(bytes);
  else
    input_.insert(input_.end(), bytes.begin(), bytes.end());
}

// Moves what has come as far up as it goes.
void VncConnection::advance() {
  if (tls_state_ == Tls::Handshake) {
    if (!tls_) return close(tls_failure_);
    const Result<void> done = tls_->handshake();
    if (!done && done.error().code == Errc::Busy) return;
    if (!done) return close(done.error().text);
    tls_state_ = Tls::On;
    if (tls_of_session_) session_.tls_ready();
    feed_session();
  }
  while (!closed_ && tls_state_ == Tls::On && decrypt()) {}
}

bool VncConnection::decrypt() {
  std::array<std::byte, 16384> chunk;
  const Result<size_t> count = tls_->read(chunk);
  if (!count && count.error().code == Errc::Busy) return false;
  if (!count || *count == 0) {
    close(count ? "it hung up" : count.error().text);
    return false;
  }
  deliver(ConstBytes(chunk).first(*count));
  return true;
}

void VncConnection::deliver(ConstBytes bytes) {
  if (!config_.websocket) {
    plain_.insert(plain_.end(), bytes.begin(), bytes.end());
    return feed_session();
  }
  const bool was_open = websocket_.open();
  std::vector<std::byte> reply;
  const Result<void> good = websocket_.receive(bytes, plain_, reply);
  if (!reply.empty()) encrypt(reply);
  if (!good) return close(good.error().text);
  if (websocket_.closed()) return close("it hung up");
  if (!was_open && websocket_.open()) session_.start();
  feed_session();
}

void VncConnection::feed_session() {
  if (closed_) return;
  const size_t used = session_.receive(plain_);
  plain_.erase(plain_.begin(), plain_.begin() + static_cast<std::ptrdiff_t>(used));
  if (session_.initialised()) deadline_.cancel();
  if (session_.ended()) return close(session_.why());
  if (plain_.size() > kMaxInput) close("it sends faster than it can be served");
}

// Out

void VncConnection::send(ConstBytes bytes) {
  if (closed_) return;
  if (config_.websocket) {
    std::vector<std::byte> frame;
    WebSocket::frame(bytes, frame);
    encrypt(frame);
  } else {
    encrypt(bytes);
  }
  flush();
}

void VncConnection::encrypt(ConstBytes bytes) {
  if (tls_state_ == Tls::On)
    (void)tls_->write(bytes);  // into output_, which takes everything
  else
    output_.insert(output_.end(), bytes.begin(), bytes.end());
}

void VncConnection::flush() {
  while (unsent() > 0 && !closed_) {
    const ssize_t count =
        ::send(fd_.get(), output_.data() + output_sent_, unsent(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) {
      // Found out by the reader, which may not be inside itself.
      output_.clear();
      output_sent_ = 0;
      break;
    }
    if (count < 0) break;
    output_sent_ += static_cast<size_t>(count);
  }
  if (unsent() == 0) {
    output_.clear();
    output_sent_ = 0;
  }
  update_interest();
}

// A client that does not take its replies is not listened to.
void VncConnection::update_interest() {
  if (closed_ || !watch_) return;
  watch_.set({.readable = unsent() < kMaxReplies, .writable = unsent() > 0});
}

// TLS

void VncConnection::start_tls() {
  tls_of_session_ = true;
  begin_tls();
}

void VncConnection::begin_tls() {
  Result<std::unique_ptr<TlsSession>> session = TlsSession::create(config_.tls, *this, {});
  tls_state_ = Tls::Handshake;
  if (session)
    tls_ = std::move(*session);
  else
    tls_failure_ = session.error().text;  // told by advance()
}

i64 VncConnection::pull(Bytes to) {
  // What came behind the message that asked for TLS waits in plain_.
  if (tls_state_ == Tls::Handshake && tls_of_session_ && !plain_.empty()) {
    input_.insert(input_.begin(), plain_.begin(), plain_.end());
    plain_.clear();
  }
  if (input_.empty()) {
    errno = EAGAIN;
    return -1;
  }
  const size_t count = std::min(to.size(), input_.size());
  std::copy_n(input_.begin(), count, to.begin());
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(count));
  return static_cast<i64>(count);
}

i64 VncConnection::push(ConstBytes from) {
  output_.insert(output_.end(), from.begin(), from.end());
  return static_cast<i64>(from.size());
}

}  // namespace menura
