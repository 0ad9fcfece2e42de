// NbdStream: the bytes of one NBD connection: a stream socket, after STARTTLS with TLS on it.
//
// Owner: one end of a connection. Threads: one may read while another writes; shut() on any, and
// wakes both. Errc::Cancelled: the peer has hung up, or shut() was called; Errc::Timeout: the
// deadline went by. Example:
//   NbdStream stream(TRY(NbdStream::connect(place)));  TRY(stream.write({header, payload}));
#pragma once

#include <chrono>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/socket_address.h"
#include "tls/session.h"

namespace menura {

class NbdStream final : private TlsTransport {
 public:
  using Clock = std::chrono::steady_clock;

  // A connected socket.
  explicit NbdStream(UniqueFd socket);
  ~NbdStream() override;
  NbdStream(const NbdStream&) = delete;
  NbdStream& operator=(const NbdStream&) = delete;

  // Tries every address of the place until the deadline.
  static Result<UniqueFd> connect(const SocketPlace& place, Clock::time_point deadline);

  // Until when single calls must have made their transfer; none: for ever. While nobody transfers.
  void set_deadline(std::optional<Clock::time_point> deadline) { deadline_ = deadline; }
  // The peer's plain bytes must have been read up to here: whoever smuggles more is turned away.
  Result<void> start_tls(std::shared_ptr<const TlsCredentials> credentials, std::string hostname);
  bool is_tls() const { return tls_ != nullptr; }

  // All of it.
  Result<void> read(Bytes to);
  Result<void> skip(u64 count);
  Result<void> write(std::initializer_list<ConstBytes> parts);
  // No more of either direction.
  void shut();
  int fd() const { return socket_.get(); }

 private:
  i64 pull(Bytes to) override;
  i64 push(ConstBytes from) override;
  // Waits for the socket as long as the deadline allows; false: errno says why not.
  bool wait(short events) const;
  Result<size_t> receive(Bytes to);
  Error error(int os_errno, std::string_view what) const;

  // Wiring
  const UniqueFd socket_;
  std::unique_ptr<TlsSession> tls_;
  // State
  std::optional<Clock::time_point> deadline_;
  std::vector<std::byte> buffer_;  // received, not yet asked for
  size_t begin_ = 0, end_ = 0;
};

}  // namespace menura
