#include "net/user_net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <slirp/libslirp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/log.h"
#include "base/text.h"
#include "base/units.h"
#include "net/kinds.h"
#include "net/user_addresses.h"

namespace menura {

namespace {

constexpr u32 kSlirpConfigVersion = 4;

u32 epoll_events(int slirp) {
  u32 events = 0;
  if (slirp & SLIRP_POLL_IN) events |= EPOLLIN;
  if (slirp & SLIRP_POLL_OUT) events |= EPOLLOUT;
  if (slirp & SLIRP_POLL_PRI) events |= EPOLLPRI;
  return events;
}

int slirp_events(u32 epoll) {
  int events = 0;
  if (epoll & EPOLLIN) events |= SLIRP_POLL_IN;
  if (epoll & EPOLLOUT) events |= SLIRP_POLL_OUT;
  if (epoll & EPOLLPRI) events |= SLIRP_POLL_PRI;
  if (epoll & EPOLLERR) events |= SLIRP_POLL_ERR;
  if (epoll & EPOLLHUP) events |= SLIRP_POLL_HUP;
  return events;
}

}  // namespace

// What libslirp calls; `opaque` is the UserNet.
class UserNet::Callbacks {
 public:
  static const SlirpCb* table() {
    static constexpr SlirpCb kTable = {
        .send_packet = send_packet,
        .guest_error = [](const char* text,
                          void* opaque) { guest_error(of(opaque).id_, "{}", text); },
        .clock_get_ns = [](void* opaque) { return of(opaque).loop_.virtual_time().now_ns(); },
        .timer_new = timer_new,
        .timer_free =
            [](void* timer, void* opaque) {
              std::erase_if(of(opaque).timers_, [&](const auto& t) { return t.get() == timer; });
            },
        .timer_mod = [](void* timer, i64 at_ms,
                        void*) { static_cast<Timer*>(timer)->arm(at_ms * kNsPerMs); },
        .register_poll_fd = [](int, void*) {},
        .unregister_poll_fd = [](int fd, void* opaque) { of(opaque).forget_fd(fd); },
        .notify = [](void* opaque) { of(opaque).schedule(); },
    };
    return &kTable;
  }

 private:
  static UserNet& of(void* opaque) { return *static_cast<UserNet*>(opaque); }
  static ssize_t send_packet(const void* frame, size_t size, void* opaque) {
    UserNet& net = of(opaque);
    net.to_guest_.push({static_cast<const std::byte*>(frame), size});
    return static_cast<ssize_t>(size);
  }
  static void* timer_new(SlirpTimerCb expired, void* argument, void* opaque) {
    UserNet& net = of(opaque);
    net.timers_.push_back(
        std::make_unique<Timer>(net.loop_.virtual_time(), [&net, expired, argument] {
          expired(argument);
          net.schedule();
        }));
    return net.timers_.back().get();
  }
};

// A guest's connection to a server of the private network that is a character device.
class UserNet::GuestForward final : public CharSink {
 public:
  GuestForward(UserNet& net, Chardev& chardev, in_addr server, int port)
      : net_(net), chardev_(chardev), server_(server), port_(port) {}
  ~GuestForward() override { chardev_.attach(nullptr); }
  void start() { chardev_.attach(this); }

  size_t room() override { return slirp_socket_can_recv(net_.slirp_, server_, port_); }
  void receive(ConstBytes bytes) override {
    slirp_socket_recv(net_.slirp_, server_, port_, reinterpret_cast<const u8*>(bytes.data()),
                      static_cast<int>(bytes.size()));
    net_.schedule();
  }
  void writable() override {
    const size_t taken = chardev_.write(waiting_);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  // libslirp wants all of it taken.
  static ssize_t write(const void* bytes, size_t size, void* opaque) {
    auto& self = *static_cast<GuestForward*>(opaque);
    const auto* const first = static_cast<const std::byte*>(bytes);
    size_t taken = 0;
    if (self.waiting_.empty()) taken = self.chardev_.write({first, size});
    if (self.waiting_.size() < kMostWaiting)
      self.waiting_.insert(self.waiting_.end(), first + taken, first + size);
    return static_cast<ssize_t>(size);
  }
  // After each round: the guest may have taken something.
  void accept_input() {
    if (room() > 0) chardev_.accept_input();
  }

 private:
  static constexpr size_t kMostWaiting = 1 << 20;
  UserNet& net_;
  Chardev& chardev_;
  const in_addr server_;
  const int port_;
  std::vector<std::byte> waiting_;
};

UserNet::UserNet(EventLoop& loop, std::string id)
    : id_(std::move(id)),
      loop_(loop),
      work_(loop.host_time(), [this] { work(); }),
      deadline_(loop.virtual_time(), [this] { work(); }) {}

UserNet::~UserNet() {
  sink_ = nullptr;
  guest_forwards_.clear();
  if (slirp_) slirp_cleanup(slirp_);
  watch_.reset();
}

Result<std::unique_ptr<UserNet>> UserNet::create(const NetdevContext& context,
                                                 const UserNetConfig& config) {
  std::unique_ptr<UserNet> net(new UserNet(context.loop, context.id));
  TRY(net->start(config));
  for (const std::string& rule : config.hostfwd) TRY(net->add_hostfwd(rule));
  for (const std::string& rule : config.guestfwd) TRY(net->forward_guest(context, rule));
  return net;
}

NetdevResult open_user_net(const NetdevContext& context, const UserNetConfig& config) {
  return NetdevResult(TRY(UserNet::create(context, config)));
}

Result<void> UserNet::start(const UserNetConfig& config) {
  const UserAddresses addresses = TRY(UserAddresses::of(config));
  const auto word = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
  std::vector<const char*> domains;
  for (const std::string& domain : config.dnssearch) domains.push_back(domain.c_str());
  domains.push_back(nullptr);
  SlirpConfig slirp{};
  slirp.version = kSlirpConfigVersion;
  slirp.restricted = config.restricted;
  slirp.in_enabled = addresses.ipv4;
  slirp.vnetwork = addresses.network;
  slirp.vnetmask = addresses.mask;
  slirp.vhost = addresses.host;
  slirp.vdhcp_start = addresses.dhcp_start;
  slirp.vnameserver = addresses.dns;
  slirp.in6_enabled = addresses.ipv6;
  slirp.vprefix_addr6 = addresses.prefix6;
  slirp.vprefix_len = addresses.prefix6_length;
  slirp.vhost6 = addresses.host6;
  slirp.vnameserver6 = addresses.dns6;
  slirp.vhostname = word(config.hostname);
  slirp.tftp_server_name = word(config.tftp_server_name);
  slirp.tftp_path = word(config.tftp);
  slirp.bootfile = word(config.bootfile);
  slirp.vdnssearch = config.dnssearch.empty() ? nullptr : domains.data();
  slirp.vdomainname = word(config.domainname);
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail_errno(errno, "Watching the sockets of the user network");
  watch_ = TRY(loop_.watch(epoll_.get(), {.readable = true}, [this](FdEvents) { on_sockets(); }));
  slirp_ = slirp_new(&slirp, Callbacks::table(), this);
  if (!slirp_) return fail(Errc::Unsupported, "libslirp refuses this user network");
  where_ = format("net={},restrict={}", config.net, config.restricted ? "on" : "off");
  schedule();
  return {};
}

std::string UserNet::where() const { return where_; }

void UserNet::attach(NetSink* sink) {
  sink_ = sink;
  schedule();
}

void UserNet::accept_input() {
  if (!to_guest_.empty()) schedule();
}

bool UserNet::send(const NetPacket& packet) {
  if (!to_host_.push(packet.frame)) {
    sender_waits_ = true;
    return false;
  }
  schedule();
  return true;
}

void UserNet::work() {
  // Answers to what is handled here join the queue; nobody is called in between.
  while (!to_host_.empty()) {
    const std::vector<std::byte> frame = to_host_.pop();
    slirp_input(slirp_, reinterpret_cast<const u8*>(frame.data()), static_cast<int>(frame.size()));
  }
  for (Polled& polled : polled_) polled.happened = 0;
  poll();
  if (std::exchange(sender_waits_, false) && sink_) sink_->writable();
}

void UserNet::on_sockets() {
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (Polled& polled : polled_) polled.happened = 0;
  for (int i = 0; i < count; i++)
    for (Polled& polled : polled_)
      if (polled.fd == events[static_cast<size_t>(i)].data.fd)
        polled.happened = slirp_events(events[static_cast<size_t>(i)].events);
  poll();
}

// One round of libslirp over the sockets it named last; then what it wants next.
void UserNet::poll() {
  slirp_pollfds_poll(
      slirp_, 0,
      [](int index, void* opaque) {
        return static_cast<UserNet*>(opaque)->polled_[static_cast<size_t>(index)].happened;
      },
      this);
  for (const auto& forward : guest_forwards_) forward->accept_input();
  to_guest_.deliver(loop_.tape(), sink_);
  refill();
}

void UserNet::refill() {
  polled_.clear();
  u32 timeout_ms = std::numeric_limits<u32>::max();
  slirp_pollfds_fill(
      slirp_, &timeout_ms,
      [](int fd, int events, void* opaque) {
        auto& net = *static_cast<UserNet*>(opaque);
        net.polled_.push_back({fd, events, 0});
        return static_cast<int>(net.polled_.size() - 1);
      },
      this);
  std::map<int, u32> wanted;
  for (const Polled& polled : polled_) wanted[polled.fd] |= epoll_events(polled.events);
  for (auto at = watched_.begin(); at != watched_.end();) {
    const int fd = (at++)->first;
    if (!wanted.contains(fd)) forget_fd(fd);
  }
  for (const auto& [fd, events] : wanted) watch_fd(fd, events);
  // A guest that takes no frames gets no more of them.
  watch_.set({.readable = to_guest_.empty()});
  if (timeout_ms == std::numeric_limits<u32>::max()) return deadline_.cancel();
  deadline_.arm(loop_.virtual_time().now_ns() + i64{timeout_ms} * kNsPerMs);
}

void UserNet::watch_fd(int fd, u32 events) {
  const auto at = watched_.find(fd);
  if (at != watched_.end() && at->second == events) return;
  epoll_event event{.events = events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT)
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  watched_[fd] = events;
}

void UserNet::forget_fd(int fd) {
  if (watched_.erase(fd)) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

namespace {

Result<bool> is_udp(std::string_view protocol, const std::string& rule) {
  if (protocol.empty() || protocol == "tcp") return false;
  if (protocol == "udp") return true;
  return fail(Errc::InvalidArgument, "'{}': expected tcp or udp, not '{}'", rule, protocol);
}

// "protocol:rest"
std::pair<std::string_view, std::string_view> split_protocol(std::string_view rule) {
  const size_t colon = rule.find(':');
  if (colon == std::string_view::npos) return {rule, {}};
  return {rule.substr(0, colon), rule.substr(colon + 1)};
}

}  // namespace

Result<void> UserNet::add_hostfwd(const std::string& rule) {
  const auto [protocol, rest] = split_protocol(rule);
  const bool udp = TRY(is_udp(protocol, rule), "hostfwd");
  const size_t dash = rest.rfind('-');
  if (dash == std::string_view::npos)
    return fail(Errc::InvalidArgument,
                "hostfwd: '{}' is not of the form [tcp|udp]:[HOST]:PORT-[GUEST]:PORT", rule);
  const UserEndpoint host = TRY(UserEndpoint::parse(rest.substr(0, dash)), "hostfwd '{}'", rule);
  const UserEndpoint guest = TRY(UserEndpoint::parse(rest.substr(dash + 1)), "hostfwd '{}'", rule);
  int status = 0;
  if (host.is_ipv6() || guest.is_ipv6())
    status = slirp_add_hostxfwd(slirp_, host.get(), host.size(), guest.get(), guest.size(),
                                udp ? SLIRP_HOSTFWD_UDP : 0);
  else
    status = slirp_add_hostfwd(slirp_, udp, host.ipv4(), host.port(), guest.ipv4(), guest.port());
  if (status < 0) return fail_errno(errno, "hostfwd '{}'", rule);
  schedule();
  return {};
}

Result<void> UserNet::remove_hostfwd(const std::string& rule) {
  const auto [protocol, rest] = split_protocol(rule);
  const bool udp = TRY(is_udp(protocol, rule));
  const UserEndpoint host = TRY(UserEndpoint::parse(rest), "'{}'", rule);
  const int status = host.is_ipv6() ? slirp_remove_hostxfwd(slirp_, host.get(), host.size(),
                                                            udp ? SLIRP_HOSTFWD_UDP : 0)
                                    : slirp_remove_hostfwd(slirp_, udp, host.ipv4(), host.port());
  if (status < 0) return fail(Errc::NotFound, "No port is forwarded from '{}'", rule);
  schedule();
  return {};
}

Result<void> UserNet::forward_guest(const NetdevContext& context, const std::string& rule) {
  const auto [protocol, rest] = split_protocol(rule);
  const size_t dash = rest.find('-');
  if (TRY(is_udp(protocol, rule), "guestfwd") || dash == std::string_view::npos)
    return fail(Errc::InvalidArgument,
                "guestfwd: '{}' is not of the form [tcp]:SERVER:PORT-chardev:ID or "
                "[tcp]:SERVER:PORT-cmd:COMMAND",
                rule);
  const UserEndpoint server = TRY(UserEndpoint::parse(rest.substr(0, dash)), "guestfwd '{}'", rule);
  if (server.is_ipv6())
    return fail(Errc::Unsupported, "guestfwd '{}': only IPv4 servers are supported", rule);
  const std::string target(rest.substr(dash + 1));
  in_addr address = server.ipv4();
  if (target.starts_with("cmd:")) {
    if (slirp_add_exec(slirp_, target.c_str() + 4, &address, server.port()) < 0)
      return fail(Errc::InvalidArgument, "guestfwd '{}': not a free address of this network", rule);
    return {};
  }
  if (!target.starts_with("chardev:"))
    return fail(Errc::InvalidArgument, "guestfwd '{}': expected chardev:ID or cmd:COMMAND", rule);
  Chardev* const chardev = TRY(context.chardev(target.substr(8)), "guestfwd '{}'", rule);
  auto forward = std::make_unique<GuestForward>(*this, *chardev, address, server.port());
  if (slirp_add_guestfwd(slirp_, GuestForward::write, forward.get(), &address, server.port()) < 0)
    return fail(Errc::InvalidArgument, "guestfwd '{}': not a free address of this network", rule);
  forward->start();
  guest_forwards_.push_back(std::move(forward));
  return {};
}

std::string UserNet::connections() const {
  char* const text = slirp_connection_info(slirp_);
  std::string copy = text ? text : "";
  std::free(text);
  return copy;
}

}  // namespace menura
