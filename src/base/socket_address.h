// SocketAddress: where a socket listens, connects or receives: resolved, printed, opened.
//
// Owner: base. Threads: values; resolve() may block on name resolution.
// Example: `auto addresses = TRY(SocketAddress::resolve({.host = "::1", .port = "10809"}));`
//          `auto sockets = TRY(SocketAddress::listen_all(addresses, 16));`
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>
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
enum class SocketType : u8 { Stream, Datagram };

// "HOST:PORT", "[v6]:PORT", ":PORT".
Result<SocketPlace> parse_host_and_port(std::string_view text);

class SocketAddress {
 public:
  // At least one, none twice; a client tries them in turn. InvalidArgument when the options make no
  // address.
  static Result<std::vector<SocketAddress>> resolve(const SocketPlace& place,
                                                    SocketRole role = SocketRole::Client,
                                                    SocketType type = SocketType::Stream);
  // Of a socket's own end, or its peer's.
  static SocketAddress of_socket(int fd);
  static SocketAddress of_peer(int fd);

  // "unix:/run/x", "tcp:127.0.0.1:4444", "tcp:[::1]:4444"; the short form without the prefix.
  std::string text() const;
  std::string short_text() const;
  // A UNIX domain path in the file system, else empty.
  std::string file_path() const;
  // Numeric; both empty for a UNIX domain socket.
  struct HostAndPort {
    std::string host, port;
  };
  HostAndPort host_and_port() const;
  bool is_internet() const { return family() == AF_INET || family() == AF_INET6; }
  bool is_multicast() const;
  sa_family_t family() const { return storage_.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  bool operator==(const SocketAddress& other) const;

  // A non-blocking socket that listens. A stale path (nobody listens) is replaced. One of IPv6 takes
  // no IPv4 clients: that address is another's.
  Result<UniqueFd> listen(int backlog = 1) const;
  // One socket for each address. An address that the host cannot have is passed over unless it is
  // the last hope; one that is taken is an error.
  struct Listening;
  static Result<std::vector<Listening>> listen_all(const std::vector<SocketAddress>& addresses,
                                                   int backlog);
  // A non-blocking datagram socket that receives. A path that a gone program left is replaced.
  Result<UniqueFd> bind_datagrams() const;
  // A non-blocking socket that is connected or, with EINPROGRESS, on its way.
  Result<UniqueFd> start_connect() const;

 private:
  static Result<SocketAddress> unix_path(const SocketPlace& place);
  Result<UniqueFd> make_socket(int type) const;
  Result<void> remove_if_stale() const;

  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

struct SocketAddress::Listening {
  UniqueFd fd;
  SocketAddress address;
};

// A socket's SO_TYPE, SO_ERROR, ...; -1 when fd is none.
int socket_option(int fd, int name);

}  // namespace menura
