// NbdServerAddress: where an NBD server is, as QEMU's options and file names spell it.
//
// Owner: block/nbd. Threads: values. Example:
//   "server": {"type": "inet", "host": "h", "port": "10809"}   {"type": "unix", "path": "/s"}
//   nbd://h:10809/export   nbd+unix:///export?socket=/s   nbd:h:10809:exportname=e   nbd:unix:/s
#pragma once

#include <string>

#include "base/socket_address.h"
#include "state/properties.h"

namespace menura {

struct NbdServerAddress {
  enum class Type : u8 { Inet, Unix };
  Type type = Type::Inet;
  std::string host;
  std::string port;
  std::string path;
  bool abstract = false;
  std::optional<bool> ipv4, ipv6;
  void describe(PropertyVisitor& p);

  Result<SocketPlace> place() const;
  // Of a client: nbd://host:port/export, nbd+unix:///export?socket=path.
  std::string uri(const std::string& export_name) const;
};
std::span<const std::string_view> enum_names(NbdServerAddress::Type);

// "tcp:host:port" of HMP and such is not among them; only what is above.
Result<Value> parse_nbd_filename(const std::string& filename);

}  // namespace menura
