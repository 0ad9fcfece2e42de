// SocketAddress: where a stream socket listens or connects: resolved, printed, opened.
//
// Owner: base. Threads: values; resolve() may block on name resolution.
// Example: `auto addresses = TRY(SocketAddress::resolve({.host = "::1", .port = "10809"}));`
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "base/fd.h"

namespace menura {

// What a user says: a path (or abstract name) of a UNIX domain socket, or host and port of TCP.
struct SocketPlace {
  std::string path = {};
  bool abstract = false;
  std::string host = {};  // empty, for a server: all addresses
  std::string port = {};
  bool ipv4 = true;
  bool ipv6 = true;
};
enum class SocketRole : u8 { Client, Server };

class SocketAddress {
 public:
  // At least one; a client tries them in turn. InvalidArgument when the options make no address.
  static Result<std::vector<SocketAddress>> resolve(const SocketPlace& place,
                                                    SocketRole role = SocketRole::Client);
  // Of a socket's own end, or its peer's.
  static SocketAddress of_socket(int fd);
  static SocketAddress of_peer(int fd);

  // "unix:/run/x", "tcp:127.0.0.1:4444", "tcp:[::1]:4444"; the short form without the prefix.
  std::string text() const;
  std::string short_text() const;
  // A UNIX domain path in the file system, else empty.
  std::string file_path() const;
  bool is_tcp() const { return family() == AF_INET || family() == AF_INET6; }

  // A non-blocking socket that listens. A stale path (nobody listens) is replaced.
  Result<UniqueFd> listen(int backlog = 1) const;
  // A non-blocking socket that is connected or, with EINPROGRESS, on its way.
  Result<UniqueFd> start_connect() const;

 private:
  sa_family_t family() const { return storage_.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  static Result<SocketAddress> unix_path(const SocketPlace& place);
  Result<UniqueFd> make_socket() const;
  Result<void> remove_if_stale() const;

  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

}  // namespace menura
