// TlsObjects: the machine's credentials for TLS, by id: -object tls-creds-x509, -psk and -anon.
//
// Owner: Drives. Threads: under the machine lock. Whoever uses credentials shares them: removing an
// object ends no connection.
// Example: `TRY(tls.create(object));  std::shared_ptr<const TlsCredentials> c = TRY(tls.find("t0"));`
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "machine/config.h"
#include "tls/credentials.h"

namespace menura {

class TlsObjects {
 public:
  // object.name is the kind. passwordid= is refused: secrets do not come here yet.
  Result<void> create(const NamedOptions& object);
  void remove(std::string_view id);
  Result<std::shared_ptr<const TlsCredentials>> find(std::string_view id) const;

  static bool is_kind(std::string_view type) { return TlsCredentials::kind_of(type).has_value(); }

 private:
  std::map<std::string, std::shared_ptr<const TlsCredentials>, std::less<>> objects_;
};

}  // namespace menura
