#include "tls/credentials.h"

#include <gnutls/x509.h>
#include <unistd.h>

#include <array>
#include <ctime>

#include "base/fd.h"
#include "base/text.h"
#include "base/units.h"
#include "tls/handles.h"

namespace menura {

namespace {

constexpr std::string_view kEndpoints[] = {"client", "server"};
constexpr std::string_view kTypes[] = {"tls-creds-anon", "tls-creds-psk", "tls-creds-x509"};
constexpr u64 kFileLimit = 1 * MiB;
constexpr unsigned kMostCertificates = 64;

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Error gnutls_error(int code, std::string what) {
  return fail(Errc::InvalidArgument, "{}: {}", what, gnutls_strerror(code));
}

gnutls_datum_t datum(std::string& text) {
  return {reinterpret_cast<unsigned char*>(text.data()), static_cast<unsigned>(text.size())};
}

// The certificates of a PEM file.
class CertificateList {
 public:
  static Result<CertificateList> read(const std::string& path) {
    CertificateList list;
    std::string text = TRY(read_file(path, kFileLimit));
    const gnutls_datum_t pem = datum(text);
    list.count_ = kMostCertificates;
    const int read = gnutls_x509_crt_list_import(list.certificates_.data(), &list.count_, &pem,
                                                 GNUTLS_X509_FMT_PEM, 0);
    if (read < 0) {
      list.count_ = 0;
      return gnutls_error(read, format("Reading certificates of '{}'", path));
    }
    list.count_ = static_cast<unsigned>(read);
    return list;
  }
  CertificateList(CertificateList&& other) noexcept
      : certificates_(other.certificates_), count_(std::exchange(other.count_, 0)) {}
  CertificateList& operator=(CertificateList&&) = delete;
  ~CertificateList() {
    for (unsigned i = 0; i < count_; i++) gnutls_x509_crt_deinit(certificates_[i]);
  }
  gnutls_x509_crt_t* data() { return certificates_.data(); }
  unsigned size() const { return count_; }

 private:
  CertificateList() = default;
  std::array<gnutls_x509_crt_t, kMostCertificates> certificates_{};
  unsigned count_ = 0;
};

Result<void> check_dates(CertificateList& list, const std::string& path) {
  const std::time_t now = std::time(nullptr);
  for (unsigned i = 0; i < list.size(); i++) {
    if (gnutls_x509_crt_get_expiration_time(list.data()[i]) < now)
      return fail(Errc::InvalidArgument, "A certificate in '{}' is past its last day", path);
    if (gnutls_x509_crt_get_activation_time(list.data()[i]) > now)
      return fail(Errc::InvalidArgument, "A certificate in '{}' is not valid yet", path);
  }
  return {};
}

// sanity-check=on: what would otherwise fail at the first connection fails now, in clear words.
Result<void> check_certificates(const std::string& ca_path, const std::string& own_path) {
  CertificateList ca = TRY(CertificateList::read(ca_path));
  TRY(check_dates(ca, ca_path));
  for (unsigned i = 0; i < ca.size(); i++)
    if (gnutls_x509_crt_get_ca_status(ca.data()[i], nullptr) <= 0)
      return fail(Errc::InvalidArgument,
                  "A certificate in '{}' does not say that it may sign others", ca_path);
  if (!exists(own_path)) return {};
  CertificateList own = TRY(CertificateList::read(own_path));
  TRY(check_dates(own, own_path));
  unsigned status = 0;
  const int verified =
      gnutls_x509_crt_list_verify(own.data(), static_cast<int>(own.size()), ca.data(),
                                  static_cast<int>(ca.size()), nullptr, 0, 0, &status);
  if (verified < 0) return gnutls_error(verified, format("Verifying '{}'", own_path));
  if (status != 0)
    return fail(Errc::InvalidArgument, "'{}' was not signed by the authority in '{}'", own_path,
                ca_path);
  return {};
}

}  // namespace

std::span<const std::string_view> enum_names(TlsEndpoint) { return kEndpoints; }

void TlsAnonConfig::describe(PropertyVisitor& p) {
  p.field("endpoint", endpoint, "which end of connections this is");
  p.field("dir", dir, "folder of the files with keys");
  p.field("verify-peer", verify_peer, "turn away a peer that does not prove who it is");
  p.field("priority", priority, "algorithms, in GnuTLS's words");
}

void TlsPskConfig::describe(PropertyVisitor& p) {
  TlsAnonConfig::describe(p);
  p.field("username", username, "which key of the file a client uses");
}

void TlsX509Config::describe(PropertyVisitor& p) {
  TlsAnonConfig::describe(p);
  p.field("sanity-check", sanity_check, "look at dates and signatures of our own certificates");
  p.field("passwordid", passwordid, "the secret object that opens the private key");
}

std::optional<TlsCredentials::Kind> TlsCredentials::kind_of(std::string_view object_type) {
  for (size_t i = 0; i < std::size(kTypes); i++)
    if (kTypes[i] == object_type) return static_cast<Kind>(i);
  return {};
}

TlsCredentials::TlsCredentials(Kind kind) : kind_(kind), handles_(std::make_unique<Handles>()) {}

TlsCredentials::~TlsCredentials() = default;

Result<void> TlsCredentials::check_endpoint(TlsEndpoint wanted) const {
  if (endpoint_ == wanted) return {};
  return fail(Errc::InvalidArgument,
              "TLS credentials with endpoint={} are given where a {} needs its own",
              kEndpoints[static_cast<size_t>(endpoint_)], kEndpoints[static_cast<size_t>(wanted)]);
}

Result<std::shared_ptr<const TlsCredentials>> TlsCredentials::load(std::string_view object_type,
                                                                   const Value& options,
                                                                   const SecretLookup& secrets) {
  const std::optional<Kind> kind = kind_of(object_type);
  ensure(kind.has_value(), "the caller asked kind_of()");
  const std::shared_ptr<TlsCredentials> made(new TlsCredentials(*kind));
  const std::string what = format("object of type '{}'", object_type);
  switch (*kind) {
    case Kind::Anon: {
      TlsAnonConfig config;
      TRY(read_properties(config, options, what));
      TRY(made->load_anon(config));
      break;
    }
    case Kind::Psk: {
      TlsPskConfig config;
      TRY(read_properties(config, options, what));
      TRY(made->load_psk(config));
      break;
    }
    case Kind::X509: {
      TlsX509Config config;
      TRY(read_properties(config, options, what));
      TRY(made->load_x509(config, secrets));
      break;
    }
  }
  return std::shared_ptr<const TlsCredentials>(made);
}

void TlsCredentials::take(const TlsAnonConfig& config) {
  endpoint_ = config.endpoint;
  verify_peer_ = config.verify_peer;
  // Kinds that GnuTLS does not offer unasked. Anonymous key exchange ended with TLS 1.2.
  constexpr std::string_view kAdded[] = {":-VERS-TLS1.3:+ANON-ECDH:+ANON-DH",
                                         ":+ECDHE-PSK:+DHE-PSK:+PSK", ""};
  priority_ = config.priority.empty() ? "NORMAL" : config.priority;
  priority_ += kAdded[static_cast<size_t>(kind_)];
}

Result<void> TlsCredentials::load_dh(const std::string& dir) {
  const std::string path = dir + "/dh-params.pem";
  if (dir.empty() || !exists(path)) return {};
  std::string text = TRY(read_file(path, kFileLimit));
  const gnutls_datum_t pem = datum(text);
  gnutls_dh_params_init(&handles_->dh);
  const int read = gnutls_dh_params_import_pkcs3(handles_->dh, &pem, GNUTLS_X509_FMT_PEM);
  if (read < 0) return gnutls_error(read, format("Reading '{}'", path));
  return {};
}

Result<void> TlsCredentials::load_anon(const TlsAnonConfig& config) {
  take(config);
  if (endpoint_ == TlsEndpoint::Client) {
    gnutls_anon_allocate_client_credentials(&handles_->anon_client);
    return {};
  }
  TRY(load_dh(config.dir));
  gnutls_anon_allocate_server_credentials(&handles_->anon_server);
  if (handles_->dh)
    gnutls_anon_set_server_dh_params(handles_->anon_server, handles_->dh);
  else
    gnutls_anon_set_server_known_dh_params(handles_->anon_server, GNUTLS_SEC_PARAM_MEDIUM);
  return {};
}

Result<void> TlsCredentials::load_psk(const TlsPskConfig& config) {
  take(config);
  if (config.dir.empty())
    return fail(Errc::InvalidArgument, "tls-creds-psk needs 'dir', the folder of 'keys.psk'");
  const std::string path = config.dir + "/keys.psk";
  const std::string keys = TRY(read_file(path, kFileLimit));
  if (endpoint_ == TlsEndpoint::Server) {
    TRY(load_dh(config.dir));
    gnutls_psk_allocate_server_credentials(&handles_->psk_server);
    const int set = gnutls_psk_set_server_credentials_file(handles_->psk_server, path.c_str());
    if (set < 0) return gnutls_error(set, format("Reading keys of '{}'", path));
    if (handles_->dh)
      gnutls_psk_set_server_dh_params(handles_->psk_server, handles_->dh);
    else
      gnutls_psk_set_server_known_dh_params(handles_->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
    return {};
  }
  // Lines of name:key, the key in hexadecimal.
  for (const std::string_view line : split(keys, '\n')) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || line.substr(0, colon) != config.username) continue;
    std::string key(trim(line.substr(colon + 1)));
    const gnutls_datum_t hex = datum(key);
    gnutls_psk_allocate_client_credentials(&handles_->psk_client);
    const int set = gnutls_psk_set_client_credentials(handles_->psk_client, config.username.c_str(),
                                                      &hex, GNUTLS_PSK_KEY_HEX);
    if (set < 0) return gnutls_error(set, format("The key of '{}' in '{}'", config.username, path));
    return {};
  }
  return fail(Errc::NotFound, "'{}' has no key for the user '{}'", path, config.username);
}

Result<void> TlsCredentials::load_x509(const TlsX509Config& config, const SecretLookup& secrets) {
  take(config);
  if (config.dir.empty())
    return fail(Errc::InvalidArgument, "tls-creds-x509 needs 'dir', the folder of certificates");
  const bool is_server = endpoint_ == TlsEndpoint::Server;
  const std::string own = config.dir + (is_server ? "/server" : "/client");
  const std::string ca = config.dir + "/ca-cert.pem", crl = config.dir + "/ca-crl.pem";
  const std::string certificate = own + "-cert.pem", key = own + "-key.pem";
  const bool needs_ca = !is_server || verify_peer_;
  if (needs_ca && !exists(ca))
    return fail(Errc::NotFound, "There is no '{}', by which a peer would be judged", ca);
  if (config.sanity_check && exists(ca)) TRY(check_certificates(ca, certificate));
  gnutls_certificate_allocate_credentials(&handles_->x509);
  if (exists(ca)) {
    const int read =
        gnutls_certificate_set_x509_trust_file(handles_->x509, ca.c_str(), GNUTLS_X509_FMT_PEM);
    if (read < 0) return gnutls_error(read, format("Reading '{}'", ca));
  }
  if (exists(crl)) {
    const int read =
        gnutls_certificate_set_x509_crl_file(handles_->x509, crl.c_str(), GNUTLS_X509_FMT_PEM);
    if (read < 0) return gnutls_error(read, format("Reading '{}'", crl));
  }
  if (is_server || exists(certificate)) {
    std::string password;
    if (!config.passwordid.empty()) password = TRY(secrets(config.passwordid));
    const int read = gnutls_certificate_set_x509_key_file2(
        handles_->x509, certificate.c_str(), key.c_str(), GNUTLS_X509_FMT_PEM,
        config.passwordid.empty() ? nullptr : password.c_str(), 0);
    if (read < 0) return gnutls_error(read, format("Reading '{}' and '{}'", certificate, key));
  }
  if (!is_server) return {};
  TRY(load_dh(config.dir));
  if (handles_->dh)
    gnutls_certificate_set_dh_params(handles_->x509, handles_->dh);
  else
    gnutls_certificate_set_known_dh_params(handles_->x509, GNUTLS_SEC_PARAM_MEDIUM);
  return {};
}

}  // namespace menura
