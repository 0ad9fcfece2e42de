// TlsSession: one TLS connection over somebody's bytes.
//
// Owner: its stream. Threads: handshake() alone; afterwards one thread may read while another writes.
// Example: `TRY(session->handshake());  size_t n = TRY(session->read(buffer));`
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "tls/credentials.h"

namespace menura {

// The bytes below: as recv(2) and send(2), with errno set when they fail. May block.
class TlsTransport {
 public:
  virtual ~TlsTransport() = default;
  virtual i64 pull(Bytes to) = 0;
  virtual i64 push(ConstBytes from) = 0;
};

class TlsSession {
 public:
  // A client that verifies its peer expects a certificate of `hostname`.
  static Result<std::unique_ptr<TlsSession>> create(
      std::shared_ptr<const TlsCredentials> credentials, TlsTransport& transport,
      std::string hostname);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // Errc::Permission when the peer is not who it should be. Errc::Busy, here and in read(), when the
  // transport has nothing to pull now (EAGAIN): to be called again.
  Result<void> handshake();
  // At least one byte; 0: the end. Errc::Io with os_errno when the transport failed.
  Result<size_t> read(Bytes to);
  Result<void> write(ConstBytes from);
  // Says goodbye; the transport stays open.
  void end();

 private:
  struct Handle;
  TlsSession(std::shared_ptr<const TlsCredentials> credentials, std::string hostname);
  Result<void> check_peer();
  Error error(int code, std::string_view what);

  // Wiring
  const std::shared_ptr<const TlsCredentials> credentials_;
  const std::string hostname_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace menura
