// SocketAddress: where a stream socket listens or connects: resolved, printed, opened.
//
// Owner: chardev. Threads: values; resolve() may block on name resolution.
// Example: `auto addresses = TRY(SocketAddress::resolve(config));`
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "chardev/config.h"

namespace menura {

class SocketAddress {
 public:
  // At least one; a client tries them in turn. InvalidArgument when the options make no address.
  static Result<std::vector<SocketAddress>> resolve(const SocketConfig& config);
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
  Result<UniqueFd> listen() const;
  // A non-blocking socket that is connected or, with EINPROGRESS, on its way.
  Result<UniqueFd> start_connect() const;

 private:
  sa_family_t family() const { return storage_.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  static Result<SocketAddress> unix_path(const SocketConfig& config);
  Result<UniqueFd> make_socket() const;
  Result<void> remove_if_stale() const;

  sockaddr_storage storage_{};
  socklen_t size_ = sizeof(sockaddr_storage);
};

}  // namespace menura
