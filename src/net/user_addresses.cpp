#include "net/user_addresses.h"

#include <arpa/inet.h>

#include <string>

#include "base/units.h"

namespace menura {

namespace {

constexpr u32 kHost = 2;
constexpr u32 kDns = 3;
constexpr u32 kDhcpStart = 15;
constexpr u32 kDhcpGuests = 16;

Result<in_addr> address4(std::string_view key, const std::string& text) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) != 1)
    return fail(Errc::InvalidArgument, "{}={}: not an IPv4 address", key, text);
  return address;
}

Result<in6_addr> address6(std::string_view key, const std::string& text) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, text.c_str(), &address) != 1)
    return fail(Errc::InvalidArgument, "{}={}: not an IPv6 address", key, text);
  return address;
}

std::string text_of(in_addr address) {
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &address, text, sizeof text);
}

// The mask behind the slash, as a number of bits or an address; without one, the class's.
Result<in_addr> mask_of(const std::string& net, in_addr network) {
  const size_t slash = net.find('/');
  if (slash == std::string::npos) {
    const u32 first = ntohl(network.s_addr) >> 24;
    return in_addr{htonl(first < 128 ? 0xff000000 : first < 192 ? 0xffff0000 : 0xffffff00)};
  }
  const std::string text = net.substr(slash + 1);
  if (text.find('.') != std::string::npos) return address4("net", text);
  const Result<u64> bits = parse_u64(text);
  if (!bits || *bits < 1 || *bits > 30)
    return fail(Errc::InvalidArgument, "net={}: a network has 1 to 30 bits", net);
  return in_addr{htonl(~u32{0} << (32 - *bits))};
}

Result<void> plan_ipv4(const UserNetConfig& config, UserAddresses& plan) {
  plan.network = TRY(address4("net", config.net.substr(0, config.net.find('/'))));
  plan.mask = TRY(mask_of(config.net, plan.network));
  plan.network.s_addr &= plan.mask.s_addr;
  const auto choose = [&](std::string_view key, const std::string& given,
                          u32 otherwise) -> Result<in_addr> {
    in_addr address{htonl(ntohl(plan.network.s_addr) + (otherwise & ~ntohl(plan.mask.s_addr)))};
    if (!given.empty()) address = TRY(address4(key, given));
    if ((address.s_addr & plan.mask.s_addr) != plan.network.s_addr)
      return fail(Errc::InvalidArgument, "{}={}: not in the network {}", key, given, config.net);
    return address;
  };
  plan.host = TRY(choose("host", config.host, kHost));
  plan.dns = TRY(choose("dns", config.dns, kDns));
  plan.dhcp_start = TRY(choose("dhcpstart", config.dhcpstart, kDhcpStart));
  const u32 start = ntohl(plan.dhcp_start.s_addr);
  const auto given_out = [&](in_addr a) { return ntohl(a.s_addr) - start < kDhcpGuests; };
  if (plan.host.s_addr == plan.dns.s_addr)
    return fail(Errc::InvalidArgument, "host and dns have the same address {}", text_of(plan.host));
  if (given_out(plan.host) || given_out(plan.dns))
    return fail(Errc::InvalidArgument,
                "dhcpstart={}: the host and the name server may not be among the 16 addresses for "
                "guests from there",
                text_of(plan.dhcp_start));
  return {};
}

Result<void> plan_ipv6(const UserNetConfig& config, UserAddresses& plan) {
  std::string prefix = config.ipv6_prefix;
  u64 bits = config.ipv6_prefixlen;
  if (!config.ipv6_net.empty()) {
    const size_t slash = config.ipv6_net.find('/');
    prefix = config.ipv6_net.substr(0, slash);
    if (slash != std::string::npos) bits = TRY(parse_u64(config.ipv6_net.substr(slash + 1)));
  }
  if (bits > 126) return fail(Errc::InvalidArgument, "an IPv6 prefix has at most 126 bits");
  plan.prefix6 = TRY(address6("ipv6-prefix", prefix));
  plan.prefix6_length = static_cast<u8>(bits);
  plan.host6 = plan.dns6 = plan.prefix6;
  plan.host6.s6_addr[15] |= kHost;
  plan.dns6.s6_addr[15] |= kDns;
  if (!config.ipv6_host.empty()) plan.host6 = TRY(address6("ipv6-host", config.ipv6_host));
  if (!config.ipv6_dns.empty()) plan.dns6 = TRY(address6("ipv6-dns", config.ipv6_dns));
  return {};
}

}  // namespace

Result<UserAddresses> UserAddresses::of(const UserNetConfig& config) {
  UserAddresses plan;
  plan.ipv4 = config.ipv4.value_or(!config.ipv6.value_or(false));
  plan.ipv6 = config.ipv6.value_or(!config.ipv4.value_or(false));
  if (!plan.ipv4 && !plan.ipv6)
    return fail(Errc::InvalidArgument, "ipv4=off and ipv6=off leave no network");
  TRY(plan_ipv4(config, plan));
  TRY(plan_ipv6(config, plan));
  return plan;
}

Result<UserEndpoint> UserEndpoint::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos)
    return fail(Errc::InvalidArgument, "'{}' is not of the form [ADDRESS]:PORT", text);
  std::string host(text.substr(0, colon));
  const Result<u64> port = parse_u64(text.substr(colon + 1));
  if (!port || *port > 65535)
    return fail(Errc::InvalidArgument, "'{}': ports go from 0 to 65535", text);
  UserEndpoint end;
  if (host.starts_with('[') && host.ends_with(']')) {
    auto& address = reinterpret_cast<sockaddr_in6&>(end.storage_);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(static_cast<u16>(*port));
    address.sin6_addr = TRY(address6("address", host.substr(1, host.size() - 2)));
    return end;
  }
  auto& address = reinterpret_cast<sockaddr_in&>(end.storage_);
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<u16>(*port));
  if (!host.empty()) address.sin_addr = TRY(address4("address", host));
  return end;
}

}  // namespace menura
