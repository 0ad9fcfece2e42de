// What can be said about a network back end: one struct of options for each kind, and the table of
// kinds. `-netdev KIND,id=...`, its help and netdev_add all derive from describe().
//
// Owner: the machine's configuration. Threads: values.
// Example: `NetdevConfig config = TRY(netdev_config("user"));
//           TRY(read_properties(config, value, "netdev"));`
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "state/properties.h"

namespace menura {

// Addresses of a network of its own behind this process (libslirp); no privileges needed.
struct UserNetConfig {
  std::optional<bool> ipv4;
  std::optional<bool> ipv6;
  bool restricted = false;
  std::string hostname;
  std::string net = "10.0.2.0/24";
  std::string host;
  std::string dhcpstart;
  std::string dns;
  std::vector<std::string> dnssearch;
  std::string domainname;
  std::string ipv6_prefix = "fec0::";
  u8 ipv6_prefixlen = 64;
  std::string ipv6_net;
  std::string ipv6_host;
  std::string ipv6_dns;
  std::string tftp;
  std::string bootfile;
  std::string tftp_server_name;
  std::vector<std::string> hostfwd;
  std::vector<std::string> guestfwd;
  void describe(PropertyVisitor& p);
};

// A network interface of the host's kernel.
struct TapConfig {
  std::string ifname;
  std::string fd;
  std::string fds;
  std::string script = "/etc/qemu-ifup";
  std::string downscript = "/etc/qemu-ifdown";
  std::string br;
  std::string helper;
  std::optional<bool> vnet_hdr;
  u32 queues = 1;
  std::optional<bool> vhost;
  std::optional<u64> sndbuf;
  void describe(PropertyVisitor& p);
};

// A tap interface made and put into a bridge by a privileged helper program.
struct BridgeConfig {
  std::string br = "br0";
  std::string helper = "/usr/lib/qemu/qemu-bridge-helper";
  void describe(PropertyVisitor& p);
};

// QEMU's oldest socket options: the words say the kind of socket.
struct SocketNetConfig {
  std::string fd;
  std::string listen;
  std::string connect;
  std::string mcast;
  std::string localaddr;
  std::string udp;
  void describe(PropertyVisitor& p);
};

// An address of the host, as QAPI's SocketAddress writes it.
struct NetAddress {
  enum class Type : u8 { Inet, Unix, Fd };
  Type type = Type::Inet;
  std::string host;
  std::string port;
  std::string path;
  std::string str;
  bool abstract = false;
  bool ipv4 = true;
  bool ipv6 = true;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(NetAddress::Type);

// Frames over a stream, each behind its length.
struct StreamNetConfig {
  NetAddress addr;
  bool server = false;
  u32 reconnect = 0;  // seconds
  u32 reconnect_ms = 0;
  void describe(PropertyVisitor& p);
};

// One frame a datagram.
struct DgramNetConfig {
  std::optional<NetAddress> local;
  std::optional<NetAddress> remote;
  void describe(PropertyVisitor& p);
};

// A socket of a hub: what enters at one leaves at all others.
struct HubPortConfig {
  i32 hubid = 0;
  std::string netdev;
  void describe(PropertyVisitor& p);
};

struct NetdevConfig {
  std::string id;
  std::variant<UserNetConfig, TapConfig, BridgeConfig, SocketNetConfig, StreamNetConfig,
               DgramNetConfig, HubPortConfig>
      kind;
  void describe(PropertyVisitor& p);
};

struct NetdevKind {
  std::string_view name;  // QEMU's
  std::string_view help;  // one line
};
std::span<const NetdevKind> netdev_kinds();

// The kind's defaults; Errc::NotFound with a suggestion for an unknown name.
Result<NetdevConfig> netdev_config(std::string_view kind);

// Lists as the monitor writes them, [{"str": "tcp::22-:22"}], into lists of words.
Value with_plain_lists(Value options);

}  // namespace menura
