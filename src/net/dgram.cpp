// One Ethernet frame a datagram: UDP to a peer, a multicast group, or UNIX datagram sockets; the
// kinds dgram and socket (mcast, udp, fd).
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "net/datagram_net.h"
#include "net/kinds.h"
#include "net/net_address.h"

namespace menura {

namespace {

class SocketNet final : public DatagramNet {
 public:
  // With `to`, frames go there, by `out` if that is a socket of its own; else to the connected peer.
  struct Wires {
    UniqueFd socket;
    UniqueFd out;
    std::optional<SocketAddress> to;
    std::string path;  // a UNIX socket's, ours to remove
    std::string where;
  };

  SocketNet(EventLoop& loop, Wires wires) : DatagramNet(loop), wires_(std::move(wires)) {}
  ~SocketNet() override {
    shut();
    if (!wires_.path.empty()) ::unlink(wires_.path.c_str());
  }
  Result<void> open() {
    if (wires_.out) own_ = SocketAddress::of_socket(wires_.out.get());
    return start(wires_.socket.get());
  }
  std::string where() const override { return wires_.where; }

 protected:
  ssize_t read_frame(Bytes buffer, NetOffload&) override {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t got = ::recvfrom(fd(), buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &size);
    // A group sends us our own frames back.
    return got > 0 && own_ && from_us(from) ? 0 : got;
  }
  ssize_t write_frame(const NetPacket& packet) override {
    if (!wires_.to) return DatagramNet::write_frame(packet);
    const int fd = wires_.out ? wires_.out.get() : wires_.socket.get();
    return ::sendto(fd, packet.frame.data(), packet.frame.size(), MSG_NOSIGNAL, wires_.to->get(),
                    wires_.to->size());
  }

 private:
  // Our sending socket's port is ours alone on this host.
  bool from_us(const sockaddr_storage& from) const {
    if (from.ss_family != AF_INET) return false;
    const auto& theirs = reinterpret_cast<const sockaddr_in&>(from);
    const auto& ours = *reinterpret_cast<const sockaddr_in*>(own_->get());
    if (theirs.sin_port != ours.sin_port) return false;
    // Bound to any address, it sends from that of a local interface: nobody but this host has one.
    if (ours.sin_addr.s_addr == theirs.sin_addr.s_addr) return true;
    sockaddr_in probe = theirs;
    probe.sin_port = 0;
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&probe), sizeof probe) == 0;
  }

  Wires wires_;
  std::optional<SocketAddress> own_;
};

using Wires = SocketNet::Wires;

Result<void> set(int fd, int level, int option, const auto& value, const SocketAddress& group) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0)
    return fail_errno(errno, "Joining the multicast group {}", group.short_text());
  return {};
}

// Receives on the group's address, sends from a port of its own, so that what we sent is known.
Result<Wires> join(const SocketAddress& group, const std::string& interface) {
  if (group.family() != AF_INET)
    return fail(Errc::Unsupported, "Multicast group {}: only IPv4 groups are supported",
                group.short_text());
  const auto& address = *reinterpret_cast<const sockaddr_in*>(group.get());
  ip_mreq membership{.imr_multiaddr = address.sin_addr, .imr_interface = {INADDR_ANY}};
  if (!interface.empty() && ::inet_aton(interface.c_str(), &membership.imr_interface) == 0)
    return fail(Errc::InvalidArgument, "'{}' is not the IPv4 address of an interface", interface);
  Wires wires;
  wires.socket = TRY(group.bind_datagrams());
  TRY(set(wires.socket.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, membership, group));
  wires.out = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_in any{.sin_family = AF_INET, .sin_port = 0, .sin_addr = membership.imr_interface};
  if (!wires.out ||
      ::bind(wires.out.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0)
    return fail_errno(errno, "Sending from the interface '{}'", interface);
  TRY(set(wires.out.get(), IPPROTO_IP, IP_MULTICAST_LOOP, u8{1}, group));
  if (!interface.empty())
    TRY(set(wires.out.get(), IPPROTO_IP, IP_MULTICAST_IF, membership.imr_interface, group));
  wires.to = group;
  wires.where = "mcast=" + group.short_text();
  return wires;
}

Result<Wires> between(const auto& local, const auto& remote) {
  const SocketAddress here = TRY(resolve(local, SocketType::Datagram, SocketRole::Server));
  const SocketAddress there = TRY(resolve(remote, SocketType::Datagram, SocketRole::Client));
  if (here.family() != there.family())
    return fail(Errc::InvalidArgument, "{} and {} are addresses of different kinds",
                here.short_text(), there.short_text());
  Wires wires;
  wires.socket = TRY(here.bind_datagrams());
  wires.path = here.file_path();
  wires.to = there;
  wires.where = format("udp={}/{}", here.short_text(), there.short_text());
  return wires;
}

Result<Wires> inherited(const std::string& number) {
  Wires wires;
  wires.socket = TRY(inherited_socket(number));
  if (socket_option(wires.socket.get(), SO_TYPE) != SOCK_DGRAM) {
    const int fd = wires.socket.release();  // not what was meant: not ours to close
    return fail(Errc::InvalidArgument, "Descriptor {} is not a datagram socket", fd);
  }
  wires.where = "fd=" + number;
  return wires;
}

NetdevResult made(EventLoop& loop, Wires wires) {
  auto net = std::make_unique<SocketNet>(loop, std::move(wires));
  TRY(net->open());
  return NetdevResult(std::move(net));
}

}  // namespace

NetdevResult open_dgram_net(const NetdevContext& context, const DgramNetConfig& config) {
  const auto is_fd = [](const auto& a) { return a && a->type == NetAddress::Type::Fd; };
  if (is_fd(config.remote))
    return fail(Errc::InvalidArgument, "A descriptor can be the local end, not the remote one");
  if (is_fd(config.local)) return made(context.loop, TRY(inherited(config.local->str)));
  if (!config.remote)
    return fail(Errc::InvalidArgument, "'remote' must be given (unless local is a descriptor)");
  if (config.remote->type == NetAddress::Type::Inet) {
    const SocketAddress remote =
        TRY(resolve(*config.remote, SocketType::Datagram, SocketRole::Client));
    if (remote.is_multicast())
      return made(context.loop,
                  TRY(join(remote, config.local ? config.local->host : std::string())));
  }
  if (!config.local)
    return fail(Errc::InvalidArgument, "'local' must be given (unless remote is a group)");
  return made(context.loop, TRY(between(*config.local, *config.remote)));
}

NetdevResult open_socket_datagrams(const NetdevContext& context, const SocketNetConfig& config) {
  if (!config.fd.empty()) return made(context.loop, TRY(inherited(config.fd)));
  if (config.mcast.empty()) {
    if (config.localaddr.empty())
      return fail(Errc::InvalidArgument, "udp= needs localaddr=, where to receive");
    return made(context.loop, TRY(between(config.localaddr, config.udp)));
  }
  const SocketAddress group = TRY(resolve(config.mcast, SocketType::Datagram, SocketRole::Client));
  if (!group.is_multicast())
    return fail(Errc::InvalidArgument, "{} is not a multicast address", group.short_text());
  return made(context.loop, TRY(join(group, config.localaddr)));
}

}  // namespace menura
