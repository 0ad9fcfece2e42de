#include "block/nbd/nbd_stream.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/units.h"

namespace menura {

namespace {

constexpr size_t kBuffer = 64 * KiB;
constexpr size_t kMostParts = 4;
constexpr size_t kTlsRecord = 16 * KiB;

// Milliseconds until then, for poll(2): at least 0.
int milliseconds_until(NbdStream::Clock::time_point when) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(when - NbdStream::Clock::now()).count();
  return static_cast<int>(std::clamp<i64>(left, 0, 1'000'000));
}

// True when the socket became ready before the deadline.
Result<bool> wait_until(int fd, short events, NbdStream::Clock::time_point deadline) {
  for (;;) {
    pollfd one{fd, events, 0};
    const int ready = ::poll(&one, 1, milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "Waiting for a socket");
    // Late is late, even for a peer that never stops sending.
    if (NbdStream::Clock::now() >= deadline) return false;
    if (ready > 0) return true;
  }
}

Result<UniqueFd> connect_to(const SocketAddress& address, NbdStream::Clock::time_point deadline) {
  UniqueFd fd = TRY(address.start_connect());
  if (!TRY(wait_until(fd.get(), POLLOUT, deadline)))
    return fail(Errc::Timeout, "Connecting to {}: no answer in time", address.text());
  if (const int status = socket_option(fd.get(), SO_ERROR); status != 0)
    return fail_errno(status, "Connecting to {}", address.text());
  return fd;
}

}  // namespace

NbdStream::NbdStream(UniqueFd socket) : socket_(std::move(socket)), buffer_(kBuffer) {
  const int flags = ::fcntl(socket_.get(), F_GETFL);
  ::fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK);
  const int on = 1;  // refused by UNIX domain sockets, which do not delay anyway
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

NbdStream::~NbdStream() {
  if (!tls_) return;
  deadline_ = Clock::now() + std::chrono::seconds(1);
  tls_->end();
}

Result<UniqueFd> NbdStream::connect(const SocketPlace& place, Clock::time_point deadline) {
  Error last;
  for (const SocketAddress& address : TRY(SocketAddress::resolve(place))) {
    Result<UniqueFd> connected = connect_to(address, deadline);
    if (connected) return connected;
    last = std::move(connected.error());
  }
  return last;
}

Error NbdStream::error(int os_errno, std::string_view what) const {
  if (os_errno == ETIMEDOUT) return fail(Errc::Timeout, "{}: too slow", what);
  if (os_errno == ECONNRESET || os_errno == EPIPE)
    return fail(Errc::Cancelled, "{}: the connection is closed", what);
  return fail_errno(os_errno, "{}", what);
}

bool NbdStream::wait(short events) const {
  const Result<bool> ready = wait_until(socket_.get(), events, *deadline_);
  errno = ready ? ETIMEDOUT : ready.error().os_errno;
  return ready && *ready;
}

i64 NbdStream::pull(Bytes to) {
  for (;;) {
    if (deadline_ && !wait(POLLIN)) return -1;
    const ssize_t count = ::recv(socket_.get(), to.data(), to.size(), 0);
    if (count >= 0 || errno != EINTR) return count;
  }
}

i64 NbdStream::push(ConstBytes from) {
  for (;;) {
    if (deadline_ && !wait(POLLOUT)) return -1;
    const int flags = MSG_NOSIGNAL | (deadline_ ? MSG_DONTWAIT : 0);
    const ssize_t count = ::send(socket_.get(), from.data(), from.size(), flags);
    if (count >= 0 || (errno != EINTR && errno != EAGAIN)) return count;
  }
}

Result<void> NbdStream::start_tls(std::shared_ptr<const TlsCredentials> credentials,
                                  std::string hostname) {
  if (begin_ != end_)
    return fail(Errc::Corrupt, "The peer sent {} plain bytes after it asked for TLS",
                end_ - begin_);
  std::unique_ptr<TlsSession> session =
      TRY(TlsSession::create(std::move(credentials), *this, std::move(hostname)));
  TRY(session->handshake());
  tls_ = std::move(session);
  return {};
}

// At least one byte, from the wire.
Result<size_t> NbdStream::receive(Bytes to) {
  if (tls_) {
    const size_t count = TRY(tls_->read(to));
    if (count == 0) return error(ECONNRESET, "Receiving");
    return count;
  }
  const i64 count = pull(to);
  if (count < 0) return error(errno, "Receiving");
  if (count == 0) return error(ECONNRESET, "Receiving");
  return static_cast<size_t>(count);
}

// Small messages come out of the buffer, many to one system call; payloads go around it.
Result<void> NbdStream::read(Bytes to) {
  while (!to.empty()) {
    if (begin_ == end_ && to.size() >= buffer_.size()) {
      to = to.subspan(TRY(receive(to)));
      continue;
    }
    if (begin_ == end_) begin_ = 0, end_ = TRY(receive(buffer_));
    const size_t here = std::min(to.size(), end_ - begin_);
    std::memcpy(to.data(), buffer_.data() + begin_, here);
    begin_ += here;
    to = to.subspan(here);
  }
  return {};
}

Result<void> NbdStream::skip(u64 count) {
  std::array<std::byte, 4096> waste;
  while (count > 0) {
    const size_t here = static_cast<size_t>(std::min<u64>(count, waste.size()));
    TRY(read(Bytes(waste).first(here)));
    count -= here;
  }
  return {};
}

Result<void> NbdStream::write(std::initializer_list<ConstBytes> parts) {
  ensure(parts.size() <= kMostParts, "a message has few parts");
  size_t total = 0;
  for (const ConstBytes part : parts) total += part.size();
  if (tls_) {
    if (total > kTlsRecord) {
      for (const ConstBytes part : parts) TRY(tls_->write(part));
      return {};
    }
    std::vector<std::byte> joined;  // one record
    joined.reserve(total);
    for (const ConstBytes part : parts) joined.insert(joined.end(), part.begin(), part.end());
    return tls_->write(joined);
  }
  std::array<iovec, kMostParts> vector{};
  msghdr message{};
  message.msg_iov = vector.data();
  for (const ConstBytes part : parts)
    if (!part.empty())
      vector[message.msg_iovlen++] = {const_cast<std::byte*>(part.data()), part.size()};
  while (total > 0) {
    if (deadline_ && !wait(POLLOUT)) return error(errno, "Sending");
    const int flags = MSG_NOSIGNAL | (deadline_ ? MSG_DONTWAIT : 0);
    const ssize_t sent = ::sendmsg(socket_.get(), &message, flags);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (sent < 0) return error(errno, "Sending");
    total -= static_cast<size_t>(sent);
    for (size_t left = static_cast<size_t>(sent); left > 0;) {
      iovec& first = message.msg_iov[0];
      const size_t here = std::min(left, first.iov_len);
      first.iov_base = static_cast<std::byte*>(first.iov_base) + here;
      first.iov_len -= here, left -= here;
      if (first.iov_len == 0) message.msg_iov++, message.msg_iovlen--;
    }
  }
  return {};
}

void NbdStream::shut() { ::shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace menura
