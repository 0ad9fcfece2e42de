#include "base/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace menura {

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

Result<SocketPlace> parse_host_and_port(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size())
    return fail(Errc::InvalidArgument, "'{}' is not of the form [HOST]:PORT", text);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return SocketPlace{.host = std::string(host), .port = std::string(text.substr(colon + 1))};
}

Result<SocketAddress> SocketAddress::unix_path(const SocketPlace& place) {
  SocketAddress address;
  auto* const name = reinterpret_cast<sockaddr_un*>(&address.storage_);
  const size_t start = place.abstract ? 1 : 0;  // an abstract name follows a zero byte, unix(7)
  if (place.path.size() + 1 > sizeof name->sun_path)
    return fail(Errc::InvalidArgument, "The socket path '{}' is longer than the {} bytes allowed",
                place.path, sizeof name->sun_path - 1);
  name->sun_family = AF_UNIX;
  std::memcpy(name->sun_path + start, place.path.data(), place.path.size());
  // A path ends with a zero byte; an abstract name is as long as it is.
  address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + place.path.size() + 1);
  return address;
}

Result<std::vector<SocketAddress>> SocketAddress::resolve(const SocketPlace& place, SocketRole role,
                                                          SocketType type) {
  const bool is_server = role == SocketRole::Server;
  if (!place.path.empty()) return std::vector{TRY(unix_path(place))};
  if (place.host.empty() && !is_server)
    return fail(Errc::InvalidArgument, "A client socket needs a path, or a host and a port");
  if (place.port.empty()) return fail(Errc::InvalidArgument, "An internet socket needs a port");
  if (!place.ipv4 && !place.ipv6)
    return fail(Errc::InvalidArgument, "ipv4=off and ipv6=off leave no address");
  addrinfo hints{};
  hints.ai_family = !place.ipv6 ? AF_INET : !place.ipv4 ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = type == SocketType::Stream ? SOCK_STREAM : SOCK_DGRAM;
  hints.ai_flags = is_server ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(place.host.empty() ? nullptr : place.host.c_str(),
                                   place.port.c_str(), &hints, &found);
  if (status != 0)
    return fail(Errc::NotFound, "Resolving '{}:{}': {}", place.host, place.port,
                ::gai_strerror(status));
  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = found; info; info = info->ai_next) {
    SocketAddress address;
    std::memcpy(&address.storage_, info->ai_addr, info->ai_addrlen);
    address.size_ = info->ai_addrlen;
    if (std::ranges::find(addresses, address) == addresses.end()) addresses.push_back(address);
  }
  ::freeaddrinfo(found);
  return addresses;
}

SocketAddress SocketAddress::of_socket(int fd) {
  SocketAddress address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_);
  return address;
}

SocketAddress SocketAddress::of_peer(int fd) {
  SocketAddress address;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_);
  return address;
}

std::string SocketAddress::file_path() const {
  if (family() != AF_UNIX || size_ <= offsetof(sockaddr_un, sun_path)) return {};
  return reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path;  // empty for an abstract name
}

std::string SocketAddress::short_text() const {
  if (family() == AF_UNIX) {
    const size_t length = size_ - offsetof(sockaddr_un, sun_path);
    if (!file_path().empty() || length <= 1) return file_path();
    return {reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path + 1, length - 1};
  }
  const auto [host, port] = host_and_port();
  return family() == AF_INET6 ? format("[{}]:{}", host, port) : format("{}:{}", host, port);
}

SocketAddress::HostAndPort SocketAddress::host_and_port() const {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (!is_internet() || ::getnameinfo(get(), size_, host, sizeof host, port, sizeof port,
                                      NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  return {host, port};
}

bool SocketAddress::is_multicast() const {
  if (family() == AF_INET)
    return IN_MULTICAST(ntohl(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr));
  return family() == AF_INET6 &&
         IN6_IS_ADDR_MULTICAST(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
}

bool SocketAddress::operator==(const SocketAddress& other) const {
  return size_ == other.size_ && std::memcmp(&storage_, &other.storage_, size_) == 0;
}

std::string SocketAddress::text() const {
  return (family() == AF_UNIX ? "unix:" : "tcp:") + short_text();
}

Result<UniqueFd> SocketAddress::make_socket(int type) const {
  UniqueFd fd(::socket(family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "Creating a socket for {}", text());
  return fd;
}

Result<UniqueFd> SocketAddress::listen(int backlog) const {
  UniqueFd fd = TRY(make_socket(SOCK_STREAM));
  const int on = 1;
  // A restart need not wait for old connections to time out.
  if (is_internet()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family() == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  int status = ::bind(fd.get(), get(), size_);
  if (status != 0 && errno == EADDRINUSE && !file_path().empty()) {
    TRY(remove_if_stale());
    status = ::bind(fd.get(), get(), size_);
  }
  if (status != 0 || ::listen(fd.get(), backlog) != 0)
    return fail_errno(errno, "Listening on {}", text());
  return fd;
}

Result<std::vector<SocketAddress::Listening>> SocketAddress::listen_all(
    const std::vector<SocketAddress>& addresses, int backlog) {
  std::vector<Listening> all;
  Error last;
  for (const SocketAddress& address : addresses) {
    Result<UniqueFd> fd = address.listen(backlog);
    if (fd) {
      all.push_back({std::move(*fd), address});
      continue;
    }
    last = std::move(fd.error());
    if (last.os_errno == EADDRINUSE) return last;
  }
  if (all.empty()) return last;
  return all;
}

Result<UniqueFd> SocketAddress::bind_datagrams() const {
  UniqueFd fd = TRY(make_socket(SOCK_DGRAM));
  const int on = 1;  // several programs may receive from one multicast group
  if (is_internet()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct stat info {};
  if (!file_path().empty() && ::lstat(file_path().c_str(), &info) == 0 && S_ISSOCK(info.st_mode))
    ::unlink(file_path().c_str());
  if (::bind(fd.get(), get(), size_) != 0)
    return fail_errno(errno, "Receiving on {}", short_text());
  return fd;
}

Result<void> SocketAddress::remove_if_stale() const {
  const UniqueFd probe = TRY(make_socket(SOCK_STREAM));
  struct stat info {};
  const bool is_socket = ::lstat(file_path().c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
  if (!is_socket) return fail(Errc::Exists, "Listening on {}: a file of this name exists", text());
  if (::connect(probe.get(), get(), size_) == 0 || errno != ECONNREFUSED)
    return fail(Errc::Busy, "Listening on {}: another program listens there", text());
  if (::unlink(file_path().c_str()) != 0)
    return fail_errno(errno, "Removing the stale socket '{}'", file_path());
  return {};
}

Result<UniqueFd> SocketAddress::start_connect() const {
  UniqueFd fd = TRY(make_socket(SOCK_STREAM));
  // EAGAIN is a UNIX socket whose queue of clients is full.
  if (::connect(fd.get(), get(), size_) != 0 && errno != EINPROGRESS)
    return fail_errno(errno, "Connecting to {}", text());
  return fd;
}

}  // namespace menura
