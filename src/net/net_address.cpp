#include "net/net_address.h"

#include <fcntl.h>

#include "base/fd_sets.h"

namespace menura {

namespace {

Result<SocketAddress> first(SocketPlace place, SocketType type, SocketRole role) {
  if (place.host.empty() && place.ipv4) place.ipv6 = false;
  return TRY(SocketAddress::resolve(place, role, type)).front();
}

}  // namespace

Result<SocketAddress> resolve(const NetAddress& address, SocketType type, SocketRole role) {
  if (address.type == NetAddress::Type::Unix && address.path.empty())
    return fail(Errc::InvalidArgument, "A UNIX domain socket needs a path");
  if (address.type == NetAddress::Type::Unix)
    return first({.path = address.path, .abstract = address.abstract}, type, role);
  return first(
      {.host = address.host, .port = address.port, .ipv4 = address.ipv4, .ipv6 = address.ipv6},
      type, role);
}

Result<SocketAddress> resolve(std::string_view text, SocketType type, SocketRole role) {
  return first(TRY(parse_host_and_port(text)), type, role);
}

Result<UniqueFd> inherited_socket(const std::string& number_or_name) {
  UniqueFd fd = TRY(take_fd(number_or_name));
  if (socket_option(fd.get(), SO_TYPE) < 0) {
    const int value = fd.release();  // not what was meant: not ours to close
    return fail(Errc::InvalidArgument, "Descriptor {} is not a socket", value);
  }
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

}  // namespace menura
