// NetPort, captures and option words: what lies between a card and any back end.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "event/event_loop.h"
#include "net/hub.h"
#include "net/pcap.h"
#include "net/test_sink.h"
#include "net/user_addresses.h"

namespace menura {
namespace {

// A back end in the test's hands.
struct FakeNetdev final : Netdev {
  bool send(const NetPacket& packet) override {
    if (full) return false;
    sent.emplace_back(packet.frame.begin(), packet.frame.end());
    return true;
  }
  void attach(NetSink* s) override { sink = s; }
  void accept_input() override { accepts++; }
  std::string where() const override { return "fake"; }
  NetOffloads offered() const override { return {.checksum = true}; }
  void accept_offloads(const NetOffloads& offloads) override { accepted = offloads; }
  NetSink* sink = nullptr;
  bool full = false;
  int accepts = 0;
  NetOffloads accepted;
  std::vector<Frame> sent;
};

struct PortTest : testing::Test {
  PortTest() { port.attach(&card); }
  ScriptedTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  FakeNetdev* net = new FakeNetdev;
  NetPort port{std::unique_ptr<Netdev>(net)};
  TestNetSink card;
};

TEST_F(PortTest, HoldsFramesBackWhileTheMachineRests) {
  EXPECT_FALSE(net->sink->ready());
  port.set_running(true);
  EXPECT_GT(net->accepts, 0);
  EXPECT_TRUE(net->sink->ready());
  card.room = 0;
  EXPECT_FALSE(net->sink->ready());
}

TEST_F(PortTest, PadsShortFrames) {
  port.set_running(true);
  net->sink->receive({.frame = test_frame(42)});
  ASSERT_EQ(card.frames.size(), 1u);
  Frame expected = test_frame(42);
  expected.resize(60);
  EXPECT_EQ(card.frames[0], expected);
}

TEST_F(PortTest, LosesFramesWhileUnplugged) {
  port.set_running(true);
  EXPECT_TRUE(port.link_up());
  port.set_link(false);
  EXPECT_FALSE(port.link_up());
  EXPECT_EQ(card.link_changes, 1);
  EXPECT_TRUE(port.send({.frame = test_frame(60)}));
  net->sink->receive({.frame = test_frame(60)});
  EXPECT_TRUE(net->sent.empty());
  EXPECT_TRUE(card.frames.empty());
  port.set_link(true);
  port.set_link(true);
  EXPECT_EQ(card.link_changes, 2);
  EXPECT_TRUE(port.send({.frame = test_frame(60)}));
  EXPECT_EQ(net->sent.size(), 1u);
}

TEST_F(PortTest, DropsWhatIsNoFrame) {
  EXPECT_TRUE(port.send({.frame = test_frame(13)}));
  EXPECT_TRUE(port.send({.frame = test_frame(kMaxFrame + 1)}));
  EXPECT_TRUE(net->sent.empty());
  net->full = true;
  EXPECT_FALSE(port.send({.frame = test_frame(60)}));
}

TEST_F(PortTest, OutlivesItsBackEnd) {
  port.set_running(true);
  port.remove_netdev();
  EXPECT_FALSE(port.link_up());
  EXPECT_EQ(card.link_changes, 1);
  EXPECT_TRUE(port.send({.frame = test_frame(60)}));
  EXPECT_EQ(port.offered(), NetOffloads{});
}

TEST_F(PortTest, CapturesAsTcpdumpReads) {
  char path[] = "/tmp/menura-pcap-XXXXXX";
  const UniqueFd fd(::mkstemp(path));
  tape.set_wall_clock(i64{1'700'000'000} * 1'000'000'000 + 250'000'000);
  auto file = PcapFile::create(*loop, path, {.max_length = 64}).value();
  port.add_capture(*file);
  port.set_running(true);
  port.send({.frame = test_frame(60)});
  net->sink->receive({.frame = test_frame(100)});
  port.remove_capture(*file);
  port.send({.frame = test_frame(60)});
  const std::string text = read_file(path, 4096).value();
  ::unlink(path);
  const ConstBytes bytes = bytes_of(text);
  ASSERT_EQ(bytes.size(), 24u + 16 + 60 + 16 + 64);
  EXPECT_EQ(load_le<u32>(bytes, 0), 0xa1b2c3d4u);
  EXPECT_EQ(load_le<u32>(bytes, 20), 1u);
  EXPECT_EQ(load_le<u32>(bytes, 24), 1'700'000'000u);
  EXPECT_EQ(load_le<u32>(bytes, 28), 250'000u);
  EXPECT_EQ(load_le<u32>(bytes, 24 + 76 + 8), 64u);
  EXPECT_EQ(load_le<u32>(bytes, 24 + 76 + 12), 100u);
}

TEST_F(PortTest, PlugsABackEndIntoAHub) {
  NetHubs hubs(tape);
  NetPort other(hubs.open_port(0, nullptr));
  TestNetSink third;
  {
    const auto plugged = hubs.open_port(0, &port);
    other.attach(&third);
    other.set_running(true);
    port.set_running(true);
    net->full = true;
    other.send({.frame = test_frame(60, 1)});
    net->full = false;
    net->sink->writable();
    ASSERT_EQ(net->sent.size(), 1u);
    EXPECT_EQ(net->sent[0], test_frame(60, 1));
    net->sink->receive({.frame = test_frame(60, 2)});
    ASSERT_EQ(third.frames.size(), 1u);
    EXPECT_EQ(third.frames[0], test_frame(60, 2));
  }
  EXPECT_EQ(port.card(), nullptr);
}

TEST(UserAddresses, PlansTheNetwork) {
  const UserAddresses plan = UserAddresses::of({}).value();
  EXPECT_TRUE(plan.ipv4 && plan.ipv6);
  EXPECT_EQ(ntohl(plan.network.s_addr), 0x0a000200u);
  EXPECT_EQ(ntohl(plan.mask.s_addr), 0xffffff00u);
  EXPECT_EQ(ntohl(plan.host.s_addr), 0x0a000202u);
  EXPECT_EQ(ntohl(plan.dns.s_addr), 0x0a000203u);
  EXPECT_EQ(ntohl(plan.dhcp_start.s_addr), 0x0a00020fu);
  UserNetConfig config{.ipv6 = true, .net = "192.168.76.0/255.255.255.0"};
  EXPECT_FALSE(UserAddresses::of(config).value().ipv4);
  config.host = "192.168.77.1";
  EXPECT_FALSE(UserAddresses::of(config));
  config.host = "192.168.76.20";
  EXPECT_FALSE(UserAddresses::of(config)) << "an address that guests would be given";
  EXPECT_FALSE(UserAddresses::of({.net = "10.0.2.0/31"}));
  EXPECT_FALSE(UserAddresses::of({.net = "ten"}));
  EXPECT_FALSE(UserAddresses::of({.ipv4 = false, .ipv6 = false}));
}

TEST(UserEndpoint, ReadsAddressesAndPorts) {
  EXPECT_EQ(UserEndpoint::parse(":2222").value().port(), 2222);
  EXPECT_EQ(ntohl(UserEndpoint::parse("127.0.0.1:80").value().ipv4().s_addr), 0x7f000001u);
  EXPECT_TRUE(UserEndpoint::parse("[::1]:80").value().is_ipv6());
  for (const std::string_view bad : {"80", "1.2.3:80", ":65536", ":", "[x]:1"})
    EXPECT_FALSE(UserEndpoint::parse(bad)) << bad;
}

}  // namespace
}  // namespace menura
