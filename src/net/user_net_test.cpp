// The user network as a guest sees it: frames written by hand to ARP, DHCP, TFTP and forwarded
// ports (RFC 826, 2131, 1350, 791, 768).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/units.h"
#include "net/test_sink.h"
#include "net/user_net.h"

namespace menura {
namespace {

constexpr u32 kGuest = 0x0a00020f;
constexpr u32 kHost = 0x0a000202;
constexpr std::array<u8, 6> kMac = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

u16 internet_checksum(ConstBytes bytes) {
  u32 sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += static_cast<u32>(bytes[i]) << 8 |
           (i + 1 < bytes.size() ? static_cast<u32>(bytes[i + 1]) : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<u16>(~sum);
}

Frame ethernet(u16 type, size_t payload) {
  Frame frame(14 + payload);
  for (size_t i = 0; i < 6; i++) {
    frame[i] = std::byte{0xff};
    frame[6 + i] = static_cast<std::byte>(kMac[i]);
  }
  store_be<u16>(frame, 12, type);
  return frame;
}

Frame arp_request(u32 wanted) {
  Frame frame = ethernet(0x0806, 28);
  store_be<u16>(frame, 14, 1);
  store_be<u16>(frame, 16, 0x0800);
  store_be<u16>(frame, 18, 0x0604);
  store_be<u16>(frame, 20, 1);
  for (size_t i = 0; i < 6; i++) frame[22 + i] = static_cast<std::byte>(kMac[i]);
  store_be<u32>(frame, 28, kGuest);
  store_be<u32>(frame, 38, wanted);
  return frame;
}

Frame udp(u32 from, u32 to, u16 source, u16 target, ConstBytes payload) {
  Frame frame = ethernet(0x0800, 28 + payload.size());
  store_be<u16>(frame, 14, 0x4500);
  store_be<u16>(frame, 16, static_cast<u16>(28 + payload.size()));
  store_be<u16>(frame, 22, 0x4011);
  store_be<u32>(frame, 26, from);
  store_be<u32>(frame, 30, to);
  store_be<u16>(frame, 24, internet_checksum(ConstBytes(frame).subspan(14, 20)));
  store_be<u16>(frame, 34, source);
  store_be<u16>(frame, 36, target);
  store_be<u16>(frame, 38, static_cast<u16>(8 + payload.size()));
  std::copy(payload.begin(), payload.end(), frame.begin() + 42);
  return frame;
}

struct UserNetTest : testing::Test {
  void open(const UserNetConfig& config) {
    net = UserNet::create(
              {.loop = *loop,
               .id = id,
               .chardev = [this](std::string_view) -> Result<Chardev*> { return chardev; }},
              config)
              .value();
    net->attach(&sink);
  }
  // Runs until a frame that fits has come; an empty one if none does.
  Frame wait_for(const std::function<bool(const Frame&)>& fits) {
    for (int i = 0; i < 300; i++) {
      for (const Frame& frame : sink.frames)
        if (fits(frame)) {
          Frame found = frame;
          sink.frames.clear();
          return found;
        }
      loop->run_once(2 * kNsPerMs);
    }
    return {};
  }
  Frame wait_for_udp(u16 port) {
    return wait_for([&](const Frame& f) {
      return f.size() > 42 && load_be<u16>(f, 12) == 0x0800 && f[23] == std::byte{17} &&
             load_be<u16>(f, 36) == port;
    });
  }
  void meet() {
    net->send({.frame = arp_request(kHost)});
    ASSERT_FALSE(wait_for([](const Frame& f) { return load_be<u16>(f, 12) == 0x0806; }).empty());
  }

  LiveTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  const std::string id = "n0";
  Chardev* chardev = nullptr;
  TestNetSink sink;
  std::unique_ptr<UserNet> net;
};

TEST_F(UserNetTest, AnswersArp) {
  open({});
  EXPECT_EQ(net->where(), "net=10.0.2.0/24,restrict=off");
  net->send({.frame = arp_request(kHost)});
  EXPECT_TRUE(sink.frames.empty()) << "nothing comes from inside send()";
  const Frame reply = wait_for([](const Frame& f) { return load_be<u16>(f, 12) == 0x0806; });
  ASSERT_GE(reply.size(), 42u);
  EXPECT_EQ(load_be<u16>(reply, 20), 2);
  EXPECT_EQ(load_be<u32>(reply, 28), kHost);
  EXPECT_EQ(load_be<u32>(reply, 38), kGuest);
}

Frame dhcp(u8 type, u32 wanted) {
  std::vector<std::byte> message(300);
  message[0] = message[1] = std::byte{1};
  message[2] = std::byte{6};
  store_be<u32>(message, 4, 0x12345678);
  for (size_t i = 0; i < 6; i++) message[28 + i] = static_cast<std::byte>(kMac[i]);
  store_be<u32>(message, 236, 0x63825363);
  const u8 options[] = {53, 1, type, 50, 4, 10, 0, 2, static_cast<u8>(wanted), 255};
  std::memcpy(&message[240], options, sizeof options);
  return udp(0, 0xffffffff, 68, 67, message);
}

// The value of a DHCP option in a frame.
std::string option(const Frame& frame, u8 wanted) {
  for (size_t at = 42 + 240; at + 1 < frame.size() && frame[at] != std::byte{255};) {
    const auto size = static_cast<size_t>(frame[at + 1]);
    if (frame[at] == std::byte{wanted} && at + 2 + size <= frame.size())
      return {reinterpret_cast<const char*>(&frame[at + 2]), size};
    at += 2 + size;
  }
  return {};
}

TEST_F(UserNetTest, GivesAnAddressByDhcp) {
  open({.hostname = "lyre",
        .dns = "10.0.2.9",
        .domainname = "example.org",
        .bootfile = "kernel.img"});
  net->send({.frame = dhcp(1, 0)});
  const Frame offer = wait_for_udp(68);
  ASSERT_GT(offer.size(), 300u);
  EXPECT_EQ(option(offer, 53), "\x02");
  EXPECT_EQ(load_be<u32>(offer, 42 + 16), kGuest);
  net->send({.frame = dhcp(3, 15)});
  const Frame ack = wait_for_udp(68);
  ASSERT_GT(ack.size(), 300u);
  EXPECT_EQ(option(ack, 53), "\x05");
  EXPECT_EQ(option(ack, 12), "lyre");
  EXPECT_EQ(option(ack, 6), std::string("\x0a\0\x02\x09", 4));
  EXPECT_EQ(option(ack, 15), "example.org");
  EXPECT_STREQ(reinterpret_cast<const char*>(&ack[42 + 108]), "kernel.img");
}

TEST_F(UserNetTest, ServesAFolderByTftp) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "menura-tftp-test";
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "hello") << "from the host";
  open({.tftp = folder});
  meet();
  const std::string request("\0\1hello\0octet\0", 14);
  net->send({.frame = udp(kGuest, kHost, 2000, 69, bytes_of(request))});
  const Frame data = wait_for_udp(2000);
  std::filesystem::remove_all(folder);
  ASSERT_GE(data.size(), 42u + 4 + 13);
  EXPECT_EQ(load_be<u32>(data, 42), 0x00030001u);
  EXPECT_EQ(std::memcmp(&data[46], "from the host", 13), 0);
}

TEST_F(UserNetTest, ForwardsPortsOfTheHost) {
  open({.hostfwd = {"udp:127.0.0.1:0-:7"}});
  EXPECT_FALSE(net->add_hostfwd("icmp::1-:1"));
  EXPECT_FALSE(net->add_hostfwd("tcp::1"));
  EXPECT_FALSE(net->remove_hostfwd("tcp:127.0.0.1:9"));
  const UniqueFd probe(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  ASSERT_EQ(::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  socklen_t size = sizeof address;
  ::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const int port = ntohs(address.sin_port) ^ 1;  // most likely free
  const std::string rule = format("udp:127.0.0.1:{}-:7", port);
  if (!net->add_hostfwd(rule)) GTEST_SKIP() << "port " << port << " is taken";
  EXPECT_NE(net->connections().find("UDP"), std::string::npos);
  meet();
  address.sin_port = htons(static_cast<u16>(port));
  ASSERT_EQ(
      ::sendto(probe.get(), "ping", 4, 0, reinterpret_cast<sockaddr*>(&address), sizeof address),
      4);
  const Frame ping = wait_for_udp(7);
  ASSERT_GE(ping.size(), 46u);
  EXPECT_EQ(std::memcmp(&ping[42], "ping", 4), 0);
  const std::string pong = "pong";
  net->send(
      {.frame = udp(kGuest, load_be<u32>(ping, 26), 7, load_be<u16>(ping, 34), bytes_of(pong))});
  char answer[8] = {};
  for (int i = 0; i < 100 && ::recv(probe.get(), answer, sizeof answer, MSG_DONTWAIT) < 0; i++)
    loop->run_once(2 * kNsPerMs);
  EXPECT_STREQ(answer, "pong");
  EXPECT_TRUE(net->remove_hostfwd(format("udp:127.0.0.1:{}", port)));
}

TEST_F(UserNetTest, WaitsForTheGuest) {
  open({});
  sink.room = 0;
  for (int i = 0; i < 3; i++) net->send({.frame = arp_request(kHost)});
  for (int i = 0; i < 10; i++) loop->run_once(kNsPerMs);
  EXPECT_TRUE(sink.frames.empty());
  sink.room = 10;
  net->accept_input();
  const Frame reply = wait_for([](const Frame& f) { return load_be<u16>(f, 12) == 0x0806; });
  EXPECT_FALSE(reply.empty());
  EXPECT_EQ(sink.violations, 0);
}

TEST_F(UserNetTest, TakesAnyFrames) {
  open({});
  u32 random = 1;
  for (int i = 0; i < 2000; i++) {
    Frame frame(14 + i % 200);
    for (std::byte& byte : frame) {
      random = random * 1664525 + 1013904223;
      byte = static_cast<std::byte>(random >> 24);
    }
    store_be<u16>(frame, 12, i % 3 == 0 ? 0x0800 : i % 3 == 1 ? 0x86dd : 0x0806);
    net->send({.frame = frame});
    if (i % 64 == 0) loop->run_once(0);
  }
  for (int i = 0; i < 5; i++) loop->run_once(kNsPerMs);
  meet();
}

}  // namespace
}  // namespace menura
