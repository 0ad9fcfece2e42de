// What every back end does that carries frames from one end to another, whatever its kind. Each Rig
// makes one and acts as the host's side of it, with plain system calls. libslirp's is in
// user_net_test.cpp: nobody is at its other end.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/units.h"
#include "event/event_loop.h"
#include "net/hub.h"
#include "net/net_port.h"
#include "net/test_sink.h"

namespace menura {
namespace {

constexpr std::string_view kId = "test";

struct Rig {
  virtual ~Rig() = default;
  // Errc::Permission when this host does not let us.
  virtual Result<void> open(EventLoop& loop, const std::string& folder) = 0;
  // The host's side; neither blocks. take() is empty when nothing is there.
  virtual bool send(const Frame& frame) = 0;
  virtual Frame take() = 0;
  virtual void leave() = 0;
  virtual size_t largest() const { return 9000; }
  // Whether what nobody reads makes the sender wait (else it is lost, or taken without end).
  virtual bool output_waits() const { return false; }

  Result<void> make(EventLoop& loop, decltype(NetdevConfig::kind) kind) {
    static const std::string kName(kId);
    netdev = TRY(open_netdev({.loop = loop, .id = kName, .hubs = hubs ? &*hubs : nullptr},
                             {.kind = std::move(kind)}));
    return {};
  }
  std::optional<NetHubs> hubs;
  std::unique_ptr<Netdev> netdev;
};

struct PeerRig : Rig {
  void leave() override { peer.reset(); }
  UniqueFd peer;
};

struct DatagramRig : PeerRig {
  bool send(const Frame& frame) override {
    return ::send(peer.get(), frame.data(), frame.size(), MSG_DONTWAIT) ==
           static_cast<ssize_t>(frame.size());
  }
  Frame take() override {
    Frame frame(1 << 16);
    const ssize_t n = ::recv(peer.get(), frame.data(), frame.size(), MSG_DONTWAIT);
    frame.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return frame;
  }
};

// Unread UNIX datagrams make their sender wait.
struct UnixDgramRig final : DatagramRig {
  static NetAddress address(const std::string& path) {
    return {.type = NetAddress::Type::Unix, .path = path};
  }
  Result<void> open(EventLoop& loop, const std::string& folder) override {
    sockaddr_un ours{};
    ours.sun_family = AF_UNIX;
    (folder + "/host").copy(ours.sun_path, sizeof ours.sun_path - 1);
    sockaddr_un theirs = ours;
    (folder + "/vm").copy(theirs.sun_path, sizeof theirs.sun_path - 1);
    theirs.sun_path[folder.size() + 3] = '\0';
    peer = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ensure(::bind(peer.get(), reinterpret_cast<sockaddr*>(&ours), sizeof ours) == 0, "bind");
    TRY(make(loop, DgramNetConfig{.local = address(folder + "/vm"),
                                  .remote = address(folder + "/host")}));
    ensure(::connect(peer.get(), reinterpret_cast<sockaddr*>(&theirs), sizeof theirs) == 0,
           "connect");
    return {};
  }
  bool output_waits() const override { return true; }
};

struct InheritedDgramRig final : DatagramRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0, "socketpair");
    peer = UniqueFd(ends[0]);
    return make(loop, SocketNetConfig{.fd = std::to_string(ends[1])});
  }
  bool output_waits() const override { return true; }
};

sockaddr_in loopback(u16 port) {
  return {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

u16 port_of(int fd) {
  sockaddr_in name{};
  socklen_t size = sizeof name;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.sin_port);
}

u16 free_port(int type) {
  const UniqueFd probe(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const sockaddr_in any = loopback(0);
  ensure(::bind(probe.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0, "bind");
  return port_of(probe.get());
}

struct UdpRig final : DatagramRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    peer = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in ours = loopback(0);
    ensure(::bind(peer.get(), reinterpret_cast<const sockaddr*>(&ours), sizeof ours) == 0, "bind");
    const u16 port = free_port(SOCK_DGRAM);
    TRY(make(loop, SocketNetConfig{.localaddr = format("127.0.0.1:{}", port),
                                   .udp = format("127.0.0.1:{}", port_of(peer.get()))}));
    const sockaddr_in theirs = loopback(port);
    ensure(::connect(peer.get(), reinterpret_cast<const sockaddr*>(&theirs), sizeof theirs) == 0,
           "connect");
    return {};
  }
};

// On the loopback interface, whatever routes the host has.
struct MulticastRig final : DatagramRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    const u16 port = free_port(SOCK_DGRAM);
    const auto group = std::string("239.77.7.7");
    TRY(make(loop,
             SocketNetConfig{.mcast = format("{}:{}", group, port), .localaddr = "127.0.0.1"}));
    peer = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(peer.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    to_ = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}};
    ::inet_aton(group.c_str(), &to_.sin_addr);
    ensure(::bind(peer.get(), reinterpret_cast<const sockaddr*>(&to_), sizeof to_) == 0, "bind");
    const in_addr interface { htonl(INADDR_LOOPBACK) };
    const ip_mreq join{to_.sin_addr, interface};
    ::setsockopt(peer.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join);
    out_ = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ::setsockopt(out_.get(), IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface);
    return {};
  }
  // What we send comes back to us, too: from the netdev come those that we did not send.
  bool send(const Frame& frame) override {
    own_++;
    return ::sendto(out_.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                    reinterpret_cast<const sockaddr*>(&to_), sizeof to_) > 0;
  }
  Frame take() override {
    Frame frame = DatagramRig::take();
    while (!frame.empty() && own_ > 0) {
      own_--;
      frame = DatagramRig::take();
    }
    return frame;
  }
  sockaddr_in to_{};
  UniqueFd out_;
  int own_ = 0;
};

struct StreamRig : PeerRig {
  bool send(const Frame& frame) override {
    Frame message(4 + frame.size());
    store_be<u32>(message, 0, static_cast<u32>(frame.size()));
    std::copy(frame.begin(), frame.end(), message.begin() + 4);
    // In two pieces, to cut the length, too.
    const auto write = [&](size_t from, size_t to) {
      return ::send(peer.get(), &message[from], to - from, 0) == static_cast<ssize_t>(to - from);
    };
    return write(0, 2) && write(2, message.size());
  }
  Frame take() override {
    std::array<std::byte, 65536> chunk;
    ssize_t n = 0;
    while ((n = ::recv(peer.get(), chunk.data(), chunk.size(), MSG_DONTWAIT)) > 0)
      buffer_.insert(buffer_.end(), chunk.begin(), chunk.begin() + n);
    if (buffer_.size() < 4) return {};
    const u32 size = load_be<u32>(buffer_, 0);
    if (buffer_.size() < 4 + size) return {};
    Frame frame(buffer_.begin() + 4, buffer_.begin() + 4 + size);
    buffer_.erase(buffer_.begin(), buffer_.begin() + 4 + size);
    return frame;
  }
  bool output_waits() const override { return true; }
  size_t largest() const override { return kMaxFrame; }
  std::vector<std::byte> buffer_;
};

struct UnixServerRig final : StreamRig {
  Result<void> open(EventLoop& loop, const std::string& folder) override {
    const std::string path = folder + "/stream";
    TRY(make(loop, StreamNetConfig{.addr = {.type = NetAddress::Type::Unix, .path = path},
                                   .server = true}));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    peer = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ensure(::connect(peer.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) == 0, "connect");
    loop.run_once(0);
    return {};
  }
};

struct TcpClientRig final : StreamRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    const UniqueFd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in any = loopback(0);
    ensure(::bind(server.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0, "bind");
    ensure(::listen(server.get(), 1) == 0, "listen");
    TRY(make(loop, SocketNetConfig{.connect = format("127.0.0.1:{}", port_of(server.get()))}));
    peer = UniqueFd(::accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return {};
  }
};

struct InheritedStreamRig final : StreamRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    peer = UniqueFd(ends[0]);
    return make(loop, SocketNetConfig{.fd = std::to_string(ends[1])});
  }
};

// The other socket of a hub.
struct HubRig final : Rig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    hubs.emplace(loop.tape());
    TRY(make(loop, HubPortConfig{.hubid = 3}));
    other_ = hubs->open_port(3, nullptr);
    other_->attach(&sink_);
    return {};
  }
  ~HubRig() override {
    other_.reset();
    netdev.reset();
  }
  bool send(const Frame& frame) override { return other_->send({.frame = frame}); }
  void leave() override { other_.reset(); }
  Frame take() override {
    if (sink_.frames.empty()) return {};
    Frame frame = sink_.frames.front();
    sink_.frames.erase(sink_.frames.begin());
    return frame;
  }
  TestNetSink sink_;
  std::unique_ptr<Netdev> other_;
};

// In a network namespace of its own, which only a privileged user may make.
struct TapRig final : DatagramRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    const UniqueFd home = TRY(open_file("/proc/self/ns/net", O_RDONLY));
    if (::unshare(CLONE_NEWNET) != 0) return fail(Errc::Permission, "no namespaces here");
    const Result<void> opened = open_inside(loop);
    ensure(::setns(home.get(), CLONE_NEWNET) == 0, "back to the host's network");
    if (!opened) return fail(Errc::Permission, "{}", opened.error().text);
    return {};
  }
  Result<void> open_inside(EventLoop& loop) {
    TRY(make(loop, TapConfig{.ifname = "menura0", .script = "no", .downscript = "no"}));
    peer = UniqueFd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5)));
    ifreq request{};
    std::string_view("menura0").copy(request.ifr_name, IFNAMSIZ);
    request.ifr_mtu = 9000;
    if (::ioctl(peer.get(), SIOCSIFMTU, &request) != 0) return fail_errno(errno, "mtu");
    request.ifr_flags = IFF_UP;
    if (::ioctl(peer.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno(errno, "up");
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(0x88b5);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("menura0"));
    if (::bind(peer.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return fail_errno(errno, "bind");
    return {};
  }
};

struct Case {
  const char* name;
  std::unique_ptr<Rig> (*make)();
};

template <class T>
std::unique_ptr<Rig> rig() {
  return std::make_unique<T>();
}

class NetConformance : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/menura-net-XXXXXX";
    folder_ = ::mkdtemp(pattern);
    rig_ = GetParam().make();
    const Result<void> status = rig_->open(*loop_, folder_);
    if (!status && status.error().code == Errc::Permission) GTEST_SKIP() << status.error().text;
    ASSERT_TRUE(status) << status.error().text;
    net().attach(&sink_);
  }
  void TearDown() override {
    rig_.reset();
    std::filesystem::remove_all(folder_);
  }
  Netdev& net() { return *rig_->netdev; }
  void run(const std::function<bool()>& done) {
    for (int i = 0; i < 300 && !done(); i++) loop_->run_once(2 * kNsPerMs);
  }
  void settle() {
    for (int i = 0; i < 10; i++) loop_->run_once(kNsPerMs);
  }
  // Frames of our protocol only: a host's interface also says things of its own.
  std::vector<Frame> received() const {
    std::vector<Frame> ours;
    for (const Frame& frame : sink_.frames)
      if (frame.size() >= 14 && load_be<u16>(frame, 12) == 0x88b5) ours.push_back(frame);
    return ours;
  }

  struct CountingTape final : ScriptedTape {
    int inputs = 0;
    void input(std::function<void()> deliver) override {
      inputs++;
      deliver();
    }
  } tape_;
  MachineLock lock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::create(tape_, lock_).value();
  std::string folder_;
  TestNetSink sink_;
  std::unique_ptr<Rig> rig_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, NetConformance,
                         testing::Values(Case{"unix_dgram", rig<UnixDgramRig>},
                                         Case{"fd_dgram", rig<InheritedDgramRig>},
                                         Case{"udp", rig<UdpRig>}, Case{"mcast", rig<MulticastRig>},
                                         Case{"unix_stream", rig<UnixServerRig>},
                                         Case{"tcp", rig<TcpClientRig>},
                                         Case{"fd_stream", rig<InheritedStreamRig>},
                                         Case{"hub", rig<HubRig>}, Case{"tap", rig<TapRig>}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(NetConformance, CarriesFramesBothWays) {
  for (const size_t size : {size_t{60}, size_t{61}, size_t{1514}, rig_->largest()}) {
    const Frame frame = test_frame(size, static_cast<unsigned>(size));
    ASSERT_TRUE(net().send({.frame = frame}));
    Frame taken;
    run([&] { return !(taken = rig_->take()).empty(); });
    EXPECT_EQ(taken, frame) << size;
    const size_t before = received().size();
    ASSERT_TRUE(rig_->send(frame));
    run([&] { return received().size() > before; });
    ASSERT_EQ(received().size(), before + 1) << size;
    EXPECT_EQ(received().back(), frame) << size;
  }
}

TEST_P(NetConformance, KeepsTheOrderOfABurst) {
  for (unsigned i = 0; i < 8; i++) ASSERT_TRUE(rig_->send(test_frame(100, i)));
  run([&] { return received().size() >= 8; });
  ASSERT_EQ(received().size(), 8u);
  for (unsigned i = 0; i < 8; i++) EXPECT_EQ(received()[i], test_frame(100, i));
}

TEST_P(NetConformance, WaitsForASinkThatIsNotReady) {
  settle();
  sink_.frames.clear();
  sink_.room = 0;
  for (unsigned i = 0; i < 5; i++) ASSERT_TRUE(rig_->send(test_frame(100, i)));
  settle();
  EXPECT_TRUE(sink_.frames.empty());
  sink_.room = 2;
  net().accept_input();
  settle();
  EXPECT_EQ(sink_.frames.size(), 2u);
  sink_.room = 100;
  net().accept_input();
  run([&] { return received().size() >= 5; });
  ASSERT_EQ(received().size(), 5u);
  EXPECT_EQ(received()[4], test_frame(100, 4));
  EXPECT_EQ(sink_.violations, 0);
}

TEST_P(NetConformance, LeavesADetachedSinkAlone) {
  sink_.on_receive = [&] {
    if (received().size() == 1) net().attach(nullptr);
  };
  for (unsigned i = 0; i < 3; i++) rig_->send(test_frame(100, i));
  settle();
  EXPECT_EQ(received().size(), 1u);
}

TEST_P(NetConformance, NeverBlocksAndTellsWhenItTakesFramesAgain) {
  const Frame frame = test_frame(1514);
  size_t taken = 0;
  while (taken < 20'000 && net().send({.frame = frame})) taken++;
  EXPECT_EQ(taken < 20'000, rig_->output_waits());
  if (!rig_->output_waits()) return;
  size_t arrived = 0;
  run([&] {
    while (rig_->take() == frame) arrived++;
    return sink_.writables > 0;
  });
  EXPECT_EQ(sink_.writables, 1);
  EXPECT_TRUE(net().send({.frame = frame}));
  run([&] {
    while (rig_->take() == frame) arrived++;
    return arrived == taken + 1;
  });
  EXPECT_EQ(arrived, taken + 1);
}

TEST_P(NetConformance, InputPassesTheTapesDoor) {
  const int before = tape_.inputs;
  rig_->send(test_frame(80));
  run([&] { return received().size() == 1; });
  EXPECT_GT(tape_.inputs, before);
}

TEST_P(NetConformance, SurvivesAPeerThatIsGone) {
  rig_->leave();
  settle();
  for (int i = 0; i < 3; i++) net().send({.frame = test_frame(60)});
  settle();
}

}  // namespace
}  // namespace menura
