#include "base/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace menura {

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

Result<std::vector<SocketAddress>> SocketAddress::resolve(const SocketPlace& place,
                                                          SocketRole role) {
  const bool is_server = role == SocketRole::Server;
  if (!place.path.empty()) return std::vector{TRY(unix_path(place))};
  if (place.host.empty() && !is_server)
    return fail(Errc::InvalidArgument, "A client socket needs a path, or a host and a port");
  if (place.port.empty()) return fail(Errc::InvalidArgument, "A TCP socket needs a port");
  if (!place.ipv4 && !place.ipv6)
    return fail(Errc::InvalidArgument, "ipv4=off and ipv6=off leave no address");
  addrinfo hints{};
  hints.ai_family = !place.ipv6 ? AF_INET : !place.ipv4 ? AF_INET6 : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = is_server ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(place.host.empty() ? nullptr : place.host.c_str(),
                                   place.port.c_str(), &hints, &found);
  if (status != 0)
    return fail(Errc::NotFound, "Resolving '{}:{}': {}", place.host, place.port,
                ::gai_strerror(status));
  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = found; info; info = info->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage_, info->ai_addr, info->ai_addrlen);
    address.size_ = info->ai_addrlen;
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
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(get(), size_, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  return family() == AF_INET6 ? format("[{}]:{}", host, port) : format("{}:{}", host, port);
}

std::string SocketAddress::text() const {
  return (family() == AF_UNIX ? "unix:" : "tcp:") + short_text();
}

Result<UniqueFd> SocketAddress::make_socket() const {
  UniqueFd fd(::socket(family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "Creating a socket for {}", text());
  return fd;
}

Result<UniqueFd> SocketAddress::listen(int backlog) const {
  UniqueFd fd = TRY(make_socket());
  if (is_tcp()) {
    const int on = 1;  // a restart need not wait for old connections to time out
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  int status = ::bind(fd.get(), get(), size_);
  if (status != 0 && errno == EADDRINUSE && !file_path().empty()) {
    TRY(remove_if_stale());
    status = ::bind(fd.get(), get(), size_);
  }
  if (status != 0 || ::listen(fd.get(), backlog) != 0)
    return fail_errno(errno, "Listening on {}", text());
  return fd;
}

Result<void> SocketAddress::remove_if_stale() const {
  const UniqueFd probe = TRY(make_socket());
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
  UniqueFd fd = TRY(make_socket());
  // EAGAIN is a UNIX socket whose queue of clients is full.
  if (::connect(fd.get(), get(), size_) != 0 && errno != EINPROGRESS)
    return fail_errno(errno, "Connecting to {}", text());
  return fd;
}

}  // namespace menura
