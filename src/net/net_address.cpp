#include "net/net_address.h"

#include <fcntl.h>

#include "base/units.h"

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

Result<UniqueFd> inherited_socket(const std::string& number) {
  const Result<u64> fd = parse_u64(number);
  if (!fd || *fd > 0x7fffffff)
    return fail(Errc::InvalidArgument, "'{}' is not the number of an inherited descriptor", number);
  const int value = static_cast<int>(*fd);
  if (socket_option(value, SO_TYPE) < 0)
    return fail(Errc::InvalidArgument, "Descriptor {} is not a socket", value);
  ::fcntl(value, F_SETFL, ::fcntl(value, F_GETFL) | O_NONBLOCK);
  ::fcntl(value, F_SETFD, FD_CLOEXEC);
  return UniqueFd(value);
}

}  // namespace menura
