#include "display/vnc_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kLastPort = 65535;
constexpr int kBacklog = 8;

Result<UniqueFd> listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(Errc::InvalidArgument, "A socket's path has 1 to {} characters, not {}",
                sizeof address.sun_path - 1, path.size());
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "Making a socket for {}", path);
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(fd.get(), at, sizeof address) == 0 || errno == EAGAIN)
    return fail(Errc::Busy, "Somebody listens at {} already", path);
  // Left by a server that is gone.
  if (errno == ECONNREFUSED) ::unlink(path.c_str());
  fd = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::bind(fd.get(), at, sizeof address) < 0 || ::listen(fd.get(), kBacklog) < 0)
    return fail_errno(errno, "Listening at {}", path);
  return fd;
}

Result<UniqueFd> listen_tcp(const std::string& host, u32 port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string service = format("{}", port);
  if (const int status =
          ::getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &found))
    return fail(Errc::NotFound, "Looking up {}: {}", host, ::gai_strerror(status));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  // Every address: an IPv6 socket takes both kinds, if the host has it.
  std::vector<const addrinfo*> order;
  for (const addrinfo* at = found; at; at = at->ai_next) order.push_back(at);
  if (host.empty())
    std::stable_partition(order.begin(), order.end(),
                          [](const addrinfo* a) { return a->ai_family == AF_INET6; });
  int last_errno = EADDRNOTAVAIL;
  for (const addrinfo* at : order) {
    UniqueFd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1, off = 0;
    if (fd) {
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (host.empty() && at->ai_family == AF_INET6)
        ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (fd && ::bind(fd.get(), at->ai_addr, at->ai_addrlen) == 0 &&
        ::listen(fd.get(), kBacklog) == 0)
      return fd;
    last_errno = errno;
    if (last_errno == EADDRINUSE) break;
  }
  return fail_errno(last_errno, "Listening at {}:{}", host, port);
}

VncEndpoint endpoint_of(const sockaddr_storage& address, socklen_t size) {
  VncEndpoint end{.host = {}, .service = {}, .family = "unknown"};
  if (address.ss_family == AF_UNIX) {
    const auto* local = reinterpret_cast<const sockaddr_un*>(&address);
    end.family = "unix";
    if (size > offsetof(sockaddr_un, sun_path)) end.service = local->sun_path;
    return end;
  }
  char host[NI_MAXHOST] = {}, service[NI_MAXSERV] = {};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, service,
                    sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return end;
  end.host = host;
  end.service = service;
  end.family = address.ss_family == AF_INET ? "ipv4" : "ipv6";
  return end;
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

Result<UniqueFd> vnc_listen(const VncPlace& place, u32 to) {
  if (!place.path.empty()) return listen_unix(place.path);
  for (u32 port = place.port;; port++) {
    Result<UniqueFd> fd = listen_tcp(place.host, port);
    if (fd || port >= std::min(to, kLastPort) || fd.error().os_errno != EADDRINUSE) return fd;
  }
}

VncEndpoint VncEndpoint::of_socket(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) size = 0;
  return endpoint_of(address, size);
}

VncEndpoint VncEndpoint::of_peer(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) size = 0;
  return endpoint_of(address, size);
}

}  // namespace menura
