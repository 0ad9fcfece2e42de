// TlsCredentials: who one end of a TLS connection is and whom it trusts: the objects tls-creds-x509,
// tls-creds-psk and tls-creds-anon, with QEMU's properties and file names.
//
// Owner: shared by the object and the sessions made with it. Threads: constant once loaded.
// Example: `auto creds = TRY(TlsCredentials::load("tls-creds-x509", options, lookup_secret));`
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "state/properties.h"

namespace menura {

enum class TlsEndpoint : u8 { Client, Server };
std::span<const std::string_view> enum_names(TlsEndpoint);

// What every kind has: tls-creds-anon.
struct TlsAnonConfig {
  TlsEndpoint endpoint = TlsEndpoint::Client;
  std::string dir;
  bool verify_peer = true;
  std::string priority;
  void describe(PropertyVisitor& p);
};
struct TlsPskConfig : TlsAnonConfig {
  std::string username = "qemu";  // a client's
  void describe(PropertyVisitor& p);
};
struct TlsX509Config : TlsAnonConfig {
  bool sanity_check = true;
  std::string passwordid;  // a secret: opens the private key
  void describe(PropertyVisitor& p);
};

class TlsCredentials {
 public:
  using SecretLookup = std::function<Result<std::string>(std::string_view id)>;
  enum class Kind : u8 { Anon, Psk, X509 };

  static std::optional<Kind> kind_of(std::string_view object_type);
  // Reads and checks the files; errors name them.
  static Result<std::shared_ptr<const TlsCredentials>> load(std::string_view object_type,
                                                            const Value& options,
                                                            const SecretLookup& secrets);
  ~TlsCredentials();
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  Kind kind() const { return kind_; }
  TlsEndpoint endpoint() const { return endpoint_; }
  bool verify_peer() const { return verify_peer_; }
  // Errc::InvalidArgument when these are the other end's.
  Result<void> check_endpoint(TlsEndpoint wanted) const;

 private:
  friend class TlsSession;
  explicit TlsCredentials(Kind kind);
  Result<void> load_anon(const TlsAnonConfig& config);
  Result<void> load_psk(const TlsPskConfig& config);
  Result<void> load_x509(const TlsX509Config& config, const SecretLookup& secrets);
  void take(const TlsAnonConfig& config);
  Result<void> load_dh(const std::string& dir);

  // Configuration
  const Kind kind_;
  TlsEndpoint endpoint_ = TlsEndpoint::Client;
  bool verify_peer_ = true;
  std::string priority_;
  // Wiring: GnuTLS's objects of the kind and endpoint; null where there is none
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace menura
