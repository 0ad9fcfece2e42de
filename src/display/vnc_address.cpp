#include "display/vnc_address.h"

#include <algorithm>
#include <cerrno>

#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kLastPort = 65535;
constexpr int kBacklog = 8;

VncEndpoint endpoint_of(const SocketAddress& address) {
  if (address.family() == AF_UNIX)
    return {.host = {}, .service = address.file_path(), .family = "unix"};
  auto [host, port] = address.host_and_port();
  const std::string_view family = address.family() == AF_INET    ? "ipv4"
                                  : address.family() == AF_INET6 ? "ipv6"
                                                                 : "unknown";
  return {.host = std::move(host), .service = std::move(port), .family = std::string(family)};
}

}  // namespace

Result<VncPlace> parse_vnc_place(std::string_view text, u32 first_port) {
  VncPlace place;
  if (text.starts_with("unix:")) {
    place.path = text.substr(5);
    if (place.path.empty()) return fail(Errc::InvalidArgument, "unix: needs a path");
    return place;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return fail(Errc::InvalidArgument, "'{}' is no place: expected host:display, or unix:path",
                text);
  place.host = text.substr(0, colon);
  if (place.host.starts_with('[') && place.host.ends_with(']'))
    place.host = place.host.substr(1, place.host.size() - 2);
  const u64 number = TRY(parse_u64(text.substr(colon + 1)), "The display of '{}'", text);
  if (number > kLastPort - first_port)
    return fail(Errc::OutOfRange, "Display {} is beyond the last, {}", number,
                kLastPort - first_port);
  place.port = first_port + static_cast<u32>(number);
  return place;
}

Result<std::vector<SocketAddress::Listening>> vnc_listen(const VncPlace& place, u32 to) {
  for (u32 port = place.port;; port++) {
    const SocketPlace at{.path = place.path, .host = place.host, .port = format("{}", port)};
    auto listening =
        SocketAddress::listen_all(TRY(SocketAddress::resolve(at, SocketRole::Server)), kBacklog);
    const bool taken = !listening && listening.error().os_errno == EADDRINUSE;
    if (!taken || !place.path.empty() || port >= std::min(to, kLastPort)) return listening;
  }
}

VncEndpoint VncEndpoint::of_socket(int fd) { return endpoint_of(SocketAddress::of_socket(fd)); }
VncEndpoint VncEndpoint::of_peer(int fd) { return endpoint_of(SocketAddress::of_peer(fd)); }

}  // namespace menura
