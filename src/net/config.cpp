#include "net/config.h"

#include <array>

#include "base/text.h"

namespace menura {

namespace {

struct Row {
  NetdevKind kind;
  decltype(NetdevConfig::kind) defaults;
};

const std::array<Row, 7>& rows() {
  static const std::array<Row, 7> kRows = {{
      {{"user", "a private network behind this program, which needs no privileges"},
       UserNetConfig{}},
      {{"tap", "a network interface of the host"}, TapConfig{}},
      {{"bridge", "a host interface that a helper program puts into a bridge"}, BridgeConfig{}},
      {{"socket", "another machine's, over TCP, UDP or multicast"}, SocketNetConfig{}},
      {{"stream", "frames through a UNIX or TCP connection"}, StreamNetConfig{}},
      {{"dgram", "frames as UNIX or UDP datagrams"}, DgramNetConfig{}},
      {{"hubport", "a socket of a hub inside the machine"}, HubPortConfig{}},
  }};
  return kRows;
}

constexpr std::string_view kAddressTypes[] = {"inet", "unix", "fd"};

}  // namespace

std::span<const std::string_view> enum_names(NetAddress::Type) { return kAddressTypes; }

void UserNetConfig::describe(PropertyVisitor& p) {
  p.field("ipv4", ipv4, "have IPv4 (on, unless only ipv6 is asked for)");
  p.field("ipv6", ipv6, "have IPv6 (on, unless only ipv4 is asked for)");
  p.field("restrict", restricted, "let the guest reach nothing but the forwarded ports");
  p.field("hostname", hostname, "the guest's name, told by DHCP");
  p.field("net", net, "the IPv4 network, as ADDRESS/BITS or ADDRESS/MASK");
  p.field("host", host, "the host's address in it (its second)");
  p.field("dhcpstart", dhcpstart, "the first of 16 addresses for guests (its fifteenth)");
  p.field("dns", dns, "where the name server appears in it (its third)");
  p.field("dnssearch", dnssearch, "a domain for unqualified names; may be given several times");
  p.field("domainname", domainname, "the guest's domain, told by DHCP");
  p.field("ipv6-net", ipv6_net, "the IPv6 network, as PREFIX/BITS");
  p.field("ipv6-prefix", ipv6_prefix, "the IPv6 network's prefix");
  p.field("ipv6-prefixlen", ipv6_prefixlen, "how many bits of it count");
  p.field("ipv6-host", ipv6_host, "the host's IPv6 address (prefix::2)");
  p.field("ipv6-dns", ipv6_dns, "the name server's IPv6 address (prefix::3)");
  p.field("tftp", tftp, "a folder that the built-in TFTP server offers");
  p.field("bootfile", bootfile, "the boot file's name, told by DHCP");
  p.field("tftp-server-name", tftp_server_name, "another TFTP server, told by DHCP");
  p.field("hostfwd", hostfwd,
          "connections to the host go to the guest: [tcp|udp]:[HOST]:PORT-[GUEST]:PORT");
  p.field("guestfwd", guestfwd,
          "connections of the guest go to a character device: [tcp]:SERVER:PORT-chardev:ID, or to "
          "a program: -cmd:COMMAND");
}

void TapConfig::describe(PropertyVisitor& p) {
  p.field("ifname", ifname, "the interface's name");
  p.field("fd", fd,
          "an open tap: an inherited descriptor's number, or the name of one sent by getfd");
  p.field("fds", fds, "several, separated by ':' (one is supported)");
  p.field("script", script, "run after opening, with the interface's name; no for none");
  p.field("downscript", downscript, "run before closing; no for none");
  p.field("br", br, "the bridge that a helper puts it into");
  p.field("helper", helper, "the helper program that makes the interface");
  p.field("vnet_hdr", vnet_hdr, "let the host's kernel do checksums and segmentation (if it can)");
  p.field("queues", queues, "number of queues (1)");
  p.field("vhost", vhost, "let the host's kernel do the card's work (only off)");
  p.field("sndbuf", sndbuf, "bytes in flight to the interface; 0: no limit");
}

void BridgeConfig::describe(PropertyVisitor& p) {
  p.field("br", br, "the bridge");
  p.field("helper", helper, "the helper program");
}

void SocketNetConfig::describe(PropertyVisitor& p) {
  p.field("fd", fd, "an inherited socket's number, or the name of one sent by getfd");
  p.field("listen", listen, "wait for a connection on [HOST]:PORT");
  p.field("connect", connect, "connect to HOST:PORT");
  p.field("mcast", mcast, "share the multicast group ADDRESS:PORT");
  p.field("udp", udp, "send datagrams to HOST:PORT");
  p.field("localaddr", localaddr,
          "of mcast: the interface's address; of udp: receive on HOST:PORT");
}

void NetAddress::describe(PropertyVisitor& p) {
  p.field("type", type, "of the address");
  p.field("host", host, "inet: name or address");
  p.field("port", port, "inet: number or service");
  p.field("path", path, "unix: the socket's path");
  p.field("str", str, "fd: an inherited descriptor's number, or the name of one sent by getfd");
  p.field("abstract", abstract, "unix: the path is no file but an abstract name");
  p.field("ipv4", ipv4, "inet: allow IPv4");
  p.field("ipv6", ipv6, "inet: allow IPv6");
}

void StreamNetConfig::describe(PropertyVisitor& p) {
  p.required("addr", addr, "the other end, or where to listen");
  p.field("server", server, "listen instead of connecting");
  p.field("reconnect", reconnect, "seconds after which a lost connection is tried again; 0: never");
  p.field("reconnect-ms", reconnect_ms, "the same in milliseconds");
}

void DgramNetConfig::describe(PropertyVisitor& p) {
  p.field("local", local, "where to receive");
  p.field("remote", remote, "where to send; a multicast group is joined");
}

void HubPortConfig::describe(PropertyVisitor& p) {
  p.required("hubid", hubid, "the hub's number");
  p.field("netdev", netdev, "a back end to plug in here; else a card is");
}

void NetdevConfig::describe(PropertyVisitor& p) {
  p.field("id", id, "its name");
  std::visit([&](auto& options) { options.describe(p); }, kind);
}

std::span<const NetdevKind> netdev_kinds() {
  static const auto kKinds = [] {
    std::array<NetdevKind, 7> kinds;
    for (size_t i = 0; i < kinds.size(); i++) kinds[i] = rows()[i].kind;
    return kinds;
  }();
  return kKinds;
}

Result<NetdevConfig> netdev_config(std::string_view kind) {
  std::vector<std::string_view> names;
  for (const Row& row : rows()) {
    if (row.kind.name == kind) return NetdevConfig{.id = {}, .kind = row.defaults};
    names.push_back(row.kind.name);
  }
  return fail(Errc::NotFound, "There is no network back end '{}'{} (-netdev help lists them)", kind,
              suggestion(kind, names));
}

Value with_plain_lists(Value options) {
  for (const std::string_view name : {"hostfwd", "guestfwd", "dnssearch"}) {
    Value* list = options.find(name);
    if (!list || !list->as<Value::List>()) continue;
    for (Value& element : *list->as<Value::List>())
      if (const Value* text = element.find("str")) element = Value(*text);
  }
  return options;
}

}  // namespace menura
