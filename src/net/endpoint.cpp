#include "net/endpoint.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/units.h"

namespace menura {

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
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

Result<NetAddress> Endpoint::parse(std::string_view text) {
  NetAddress address;
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size())
    return fail(Errc::InvalidArgument, "'{}' is not of the form [HOST]:PORT", text);
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.host = host;
  address.port = text.substr(colon + 1);
  return address;
}

namespace {

Result<void> check(const NetAddress& address, Endpoint::Side side) {
  if (address.port.empty()) return fail(Errc::InvalidArgument, "An inet address needs a port");
  if (address.host.empty() && side == Endpoint::Side::Remote)
    return fail(Errc::InvalidArgument, "The address of a peer needs a host");
  if (!address.ipv4 && !address.ipv6)
    return fail(Errc::InvalidArgument, "ipv4=off and ipv6=off leave no address");
  return {};
}

}  // namespace

Result<Endpoint> Endpoint::resolve(const NetAddress& address, int type, Side side) {
  Endpoint endpoint;
  if (address.type == NetAddress::Type::Unix) {
    auto* const name = reinterpret_cast<sockaddr_un*>(&endpoint.storage_);
    if (address.path.empty() || address.path.size() + 1 > sizeof name->sun_path)
      return fail(Errc::InvalidArgument, "A UNIX socket's path has 1 to {} bytes, not {}",
                  sizeof name->sun_path - 1, address.path.size());
    name->sun_family = AF_UNIX;
    std::memcpy(name->sun_path + (address.abstract ? 1 : 0), address.path.data(),
                address.path.size());
    endpoint.size_ =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.path.size() + 1);
    return endpoint;
  }
  TRY(check(address, side));
  addrinfo hints{};
  hints.ai_family = !address.ipv6 ? AF_INET : !address.ipv4 ? AF_INET6 : AF_UNSPEC;
  // QEMU's short forms mean IPv4 when they name no host.
  if (address.host.empty() && address.ipv4) hints.ai_family = AF_INET;
  hints.ai_socktype = type;
  hints.ai_flags = side == Side::Local ? AI_PASSIVE : 0;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                   address.port.c_str(), &hints, &found);
  if (status != 0)
    return fail(Errc::NotFound, "Resolving '{}:{}': {}", address.host, address.port,
                ::gai_strerror(status));
  std::memcpy(&endpoint.storage_, found->ai_addr, found->ai_addrlen);
  endpoint.size_ = found->ai_addrlen;
  ::freeaddrinfo(found);
  return endpoint;
}

Endpoint Endpoint::of_socket(int fd) {
  Endpoint endpoint;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&endpoint.storage_), &endpoint.size_);
  return endpoint;
}

Endpoint Endpoint::of_peer(int fd) {
  Endpoint endpoint;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&endpoint.storage_), &endpoint.size_);
  return endpoint;
}

bool Endpoint::is_multicast() const {
  if (family() == AF_INET)
    return IN_MULTICAST(ntohl(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr));
  return family() == AF_INET6 &&
         IN6_IS_ADDR_MULTICAST(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
}

std::string Endpoint::file_path() const {
  if (family() != AF_UNIX || size_ <= offsetof(sockaddr_un, sun_path)) return {};
  return reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path;  // empty for an abstract name
}

std::string Endpoint::text() const {
  if (family() == AF_UNIX) return "unix:" + file_path();
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(get(), size_, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  return family() == AF_INET6 ? format("[{}]:{}", host, port) : format("{}:{}", host, port);
}

Result<UniqueFd> Endpoint::make_socket(int type) const {
  UniqueFd fd(::socket(family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "Creating a socket for {}", text());
  return fd;
}

Result<UniqueFd> Endpoint::listen() const {
  UniqueFd fd = TRY(make_socket(SOCK_STREAM));
  const int on = 1;  // a restart need not wait for old connections to time out
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int status = ::bind(fd.get(), get(), size_);
  if (status != 0 && errno == EADDRINUSE && !file_path().empty()) {
    const UniqueFd probe = TRY(make_socket(SOCK_STREAM));
    if (::connect(probe.get(), get(), size_) != 0 && errno == ECONNREFUSED &&
        ::unlink(file_path().c_str()) == 0)
      status = ::bind(fd.get(), get(), size_);
    else
      errno = EADDRINUSE;
  }
  if (status != 0 || ::listen(fd.get(), 1) != 0)
    return fail_errno(errno, "Listening on {}", text());
  return fd;
}

Result<UniqueFd> Endpoint::bind_datagrams() const {
  UniqueFd fd = TRY(make_socket(SOCK_DGRAM));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Left behind by a program that is gone.
  struct stat info {};
  if (!file_path().empty() && ::lstat(file_path().c_str(), &info) == 0 && S_ISSOCK(info.st_mode))
    ::unlink(file_path().c_str());
  if (::bind(fd.get(), get(), size_) != 0) return fail_errno(errno, "Receiving on {}", text());
  return fd;
}

Result<UniqueFd> Endpoint::start_connect() const {
  UniqueFd fd = TRY(make_socket(SOCK_STREAM));
  if (::connect(fd.get(), get(), size_) != 0 && errno != EINPROGRESS)
    return fail_errno(errno, "Connecting to {}", text());
  return fd;
}

}  // namespace menura
