// What GnuTLS keeps of credentials: shared by credentials.cpp and session.cpp, seen by nobody else.
//
// Owner: TlsCredentials. Threads: constant once loaded.
// Example: `gnutls_credentials_set(session, GNUTLS_CRD_ANON, handles.anon_client);`
#pragma once

#include <gnutls/gnutls.h>

#include "tls/credentials.h"

namespace menura {

struct TlsCredentials::Handles {
  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;
  ~Handles() {
    if (anon_client) gnutls_anon_free_client_credentials(anon_client);
    if (anon_server) gnutls_anon_free_server_credentials(anon_server);
    if (psk_client) gnutls_psk_free_client_credentials(psk_client);
    if (psk_server) gnutls_psk_free_server_credentials(psk_server);
    if (x509) gnutls_certificate_free_credentials(x509);
    if (dh) gnutls_dh_params_deinit(dh);
  }

  gnutls_anon_client_credentials_t anon_client = nullptr;
  gnutls_anon_server_credentials_t anon_server = nullptr;
  gnutls_psk_client_credentials_t psk_client = nullptr;
  gnutls_psk_server_credentials_t psk_server = nullptr;
  gnutls_certificate_credentials_t x509 = nullptr;
  gnutls_dh_params_t dh = nullptr;
};

}  // namespace menura
