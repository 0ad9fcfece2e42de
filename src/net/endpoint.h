// Endpoint: a socket address of the host: resolved, printed, and opened as a stream or datagrams.
//
// Owner: net. Threads: values; resolve() may block on name resolution.
// Example: `Endpoint peer = TRY(Endpoint::resolve(address, SOCK_STREAM, Endpoint::Side::Remote));`
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

#include "base/fd.h"
#include "net/config.h"

namespace menura {

class Endpoint {
 public:
  enum class Side : u8 { Local, Remote };

  // Of an Inet or Unix address; type is SOCK_STREAM or SOCK_DGRAM.
  static Result<Endpoint> resolve(const NetAddress& address, int type, Side side);
  // "[HOST]:PORT", "[v6]:PORT": QEMU's short form.
  static Result<NetAddress> parse(std::string_view text);
  static Endpoint of_socket(int fd);
  static Endpoint of_peer(int fd);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  sa_family_t family() const { return storage_.ss_family; }
  bool is_multicast() const;
  // "127.0.0.1:4444", "[::1]:4444", "unix:/run/x".
  std::string text() const;
  // A UNIX domain path in the file system, else empty.
  std::string file_path() const;

  // Non-blocking and close-on-exec; the path of a UNIX socket must not exist, unless nobody listens.
  Result<UniqueFd> listen() const;
  Result<UniqueFd> bind_datagrams() const;
  // Connected or, with EINPROGRESS, on its way.
  Result<UniqueFd> start_connect() const;

 private:
  Result<UniqueFd> make_socket(int type) const;

  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

// An inherited socket: a number, checked, made non-blocking; Errc::InvalidArgument for others.
Result<UniqueFd> inherited_socket(const std::string& number);
// A socket's SO_TYPE, SO_ERROR, ...; -1 when fd is none.
int socket_option(int fd, int name);

}  // namespace menura
