#include "tls/session.h"

#include <gnutls/x509.h>

#include <cerrno>

#include "tls/handles.h"

namespace menura {

struct TlsSession::Handle {
  ~Handle() {
    if (session) gnutls_deinit(session);
  }
  gnutls_session_t session = nullptr;
  TlsTransport* transport = nullptr;
};

namespace {

// GnuTLS's callbacks: its handle is the transport.
ssize_t pull(gnutls_transport_ptr_t transport, void* to, size_t size) {
  return static_cast<TlsTransport*>(transport)->pull({static_cast<std::byte*>(to), size});
}
ssize_t push(gnutls_transport_ptr_t transport, const void* from, size_t size) {
  return static_cast<TlsTransport*>(transport)->push({static_cast<const std::byte*>(from), size});
}

// The transport blocks as it sees fit.
int always_ready(gnutls_transport_ptr_t, unsigned) { return 1; }

}  // namespace

TlsSession::TlsSession(std::shared_ptr<const TlsCredentials> credentials, std::string hostname)
    : credentials_(std::move(credentials)),
      hostname_(std::move(hostname)),
      handle_(std::make_unique<Handle>()) {}

TlsSession::~TlsSession() = default;

Error TlsSession::error(int code, std::string_view what) {
  Error error = fail(Errc::Io, "{}: {}", what, gnutls_strerror(code));
  if (code == GNUTLS_E_PUSH_ERROR || code == GNUTLS_E_PULL_ERROR) error.os_errno = errno;
  if (code == GNUTLS_E_FATAL_ALERT_RECEIVED)
    if (const char* alert = gnutls_alert_get_name(gnutls_alert_get(handle_->session)))
      error.text += format(" ({})", alert);
  return error;
}

Result<std::unique_ptr<TlsSession>> TlsSession::create(
    std::shared_ptr<const TlsCredentials> credentials, TlsTransport& transport,
    std::string hostname) {
  using Kind = TlsCredentials::Kind;
  std::unique_ptr<TlsSession> made(new TlsSession(std::move(credentials), std::move(hostname)));
  const TlsCredentials& creds = *made->credentials_;
  const TlsCredentials::Handles& handles = *creds.handles_;
  const bool is_server = creds.endpoint() == TlsEndpoint::Server;
  gnutls_session_t& session = made->handle_->session;
  if (const int status = gnutls_init(&session, is_server ? GNUTLS_SERVER : GNUTLS_CLIENT);
      status < 0)
    return made->error(status, "Starting a TLS session");
  const char* wrong = nullptr;
  if (gnutls_priority_set_direct(session, creds.priority_.c_str(), &wrong) < 0)
    return fail(Errc::InvalidArgument, "TLS priority '{}' is wrong at '{}'", creds.priority_,
                wrong ? wrong : "");
  int status = 0;
  switch (creds.kind()) {
    case Kind::Anon:
      status = is_server ? gnutls_credentials_set(session, GNUTLS_CRD_ANON, handles.anon_server)
                         : gnutls_credentials_set(session, GNUTLS_CRD_ANON, handles.anon_client);
      break;
    case Kind::Psk:
      status = is_server ? gnutls_credentials_set(session, GNUTLS_CRD_PSK, handles.psk_server)
                         : gnutls_credentials_set(session, GNUTLS_CRD_PSK, handles.psk_client);
      break;
    case Kind::X509:
      status = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, handles.x509);
      if (is_server)
        gnutls_certificate_server_set_request(
            session, creds.verify_peer() ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
      else if (!made->hostname_.empty())
        gnutls_server_name_set(session, GNUTLS_NAME_DNS, made->hostname_.data(),
                               made->hostname_.size());
      break;
  }
  if (status < 0) return made->error(status, "Using TLS credentials");
  made->handle_->transport = &transport;
  gnutls_transport_set_ptr(session, &transport);
  gnutls_transport_set_pull_function(session, pull);
  gnutls_transport_set_push_function(session, push);
  gnutls_transport_set_pull_timeout_function(session, always_ready);
  return made;
}

Result<void> TlsSession::handshake() {
  int status = 0;
  do status = gnutls_handshake(handle_->session);
  while (status < 0 && status != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(status));
  if (status == GNUTLS_E_AGAIN) return fail(Errc::Busy, "The TLS handshake goes on");
  if (status < 0) return error(status, "TLS handshake");
  return check_peer();
}

Result<void> TlsSession::check_peer() {
  if (credentials_->kind() != TlsCredentials::Kind::X509 || !credentials_->verify_peer()) return {};
  const bool is_client = credentials_->endpoint() == TlsEndpoint::Client;
  unsigned status = 0;
  const int verified = gnutls_certificate_verify_peers3(
      handle_->session, is_client && !hostname_.empty() ? hostname_.c_str() : nullptr, &status);
  if (verified < 0)
    return fail(Errc::Permission, "TLS: the peer's certificate cannot be verified: {}",
                gnutls_strerror(verified));
  if (status == 0) return {};
  gnutls_datum_t why{};
  gnutls_certificate_verification_status_print(
      status, gnutls_certificate_type_get(handle_->session), &why, 0);
  Error refused = fail(Errc::Permission, "TLS: the peer's certificate is refused: {}",
                       why.data ? reinterpret_cast<const char*>(why.data) : "unknown reason");
  gnutls_free(why.data);
  return refused;
}

Result<size_t> TlsSession::read(Bytes to) {
  for (;;) {
    const ssize_t count = gnutls_record_recv(handle_->session, to.data(), to.size());
    if (count >= 0) return static_cast<size_t>(count);
    // A peer that hangs up without goodbye has hung up all the same.
    if (count == GNUTLS_E_PREMATURE_TERMINATION) return size_t{0};
    if (count == GNUTLS_E_AGAIN) return fail(Errc::Busy, "More has to come through TLS");
    if (gnutls_error_is_fatal(static_cast<int>(count)))
      return error(static_cast<int>(count), "Receiving through TLS");
  }
}

Result<void> TlsSession::write(ConstBytes from) {
  while (!from.empty()) {
    const ssize_t count = gnutls_record_send(handle_->session, from.data(), from.size());
    if (count >= 0)
      from = from.subspan(static_cast<size_t>(count));
    else if (gnutls_error_is_fatal(static_cast<int>(count)))
      return error(static_cast<int>(count), "Sending through TLS");
  }
  return {};
}

void TlsSession::end() { gnutls_bye(handle_->session, GNUTLS_SHUT_WR); }

}  // namespace menura
