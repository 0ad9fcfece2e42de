// UserAddresses: the plan of a user network: which addresses its host, name server and guests have.
//
// Owner: net. Threads: values. Addresses are in network byte order, as the socket calls want them.
// Example: `const UserAddresses addresses = TRY(UserAddresses::of(config));`
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string_view>

#include "net/config.h"

namespace menura {

struct UserAddresses {
  bool ipv4 = true;
  bool ipv6 = true;
  in_addr network{};
  in_addr mask{};
  in_addr host{};
  in_addr dhcp_start{};
  in_addr dns{};
  in6_addr prefix6{};
  u8 prefix6_length = 64;
  in6_addr host6{};
  in6_addr dns6{};

  // InvalidArgument for addresses outside of their network, or two that are the same.
  static Result<UserAddresses> of(const UserNetConfig& config);
};

// One end of a forwarded port: "[ADDRESS]:PORT", IPv6 in brackets; no address means any.
class UserEndpoint {
 public:
  static Result<UserEndpoint> parse(std::string_view text);
  bool is_ipv6() const { return storage_.ss_family == AF_INET6; }
  in_addr ipv4() const { return reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr; }
  u16 port() const { return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return is_ipv6() ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }

 private:
  sockaddr_storage storage_{};
};

}  // namespace menura
