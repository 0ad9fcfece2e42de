#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/fd.h"
#include "base/units.h"
#include "chardev/config.h"
#include "chardev/test_sink.h"
#include "event/event_loop.h"

namespace menura {
namespace {

sockaddr_un unix_name(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  return name;
}

UniqueFd connect_unix(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un name = unix_name(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) return {};
  return fd;
}

UniqueFd listen_unix(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un name = unix_name(path);
  ensure(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0, "bind");
  ensure(::listen(fd.get(), 5) == 0, "listen");
  return fd;
}

std::string read_some(const UniqueFd& fd) {
  char text[256];
  const ssize_t n = ::recv(fd.get(), text, sizeof text, MSG_DONTWAIT);
  return {text, static_cast<size_t>(std::max<ssize_t>(n, 0))};
}

struct SocketTest : testing::Test {
  void SetUp() override { ASSERT_TRUE(::mkdtemp(folder)); }
  void TearDown() override {
    chardev.reset();
    std::filesystem::remove_all(folder);
  }
  Result<void> open(SocketConfig config) {
    chardev = TRY(open_chardev(*loop, {.id = "c0", .kind = config}));
    chardev->attach(&sink);
    return {};
  }
  template <class Condition>
  void run(Condition condition) {
    for (int i = 0; i < 3000 && !condition(); i++) loop->run_once(kNsPerMs);
  }
  std::string path(const char* name = "s") { return std::string(folder) + "/" + name; }

  ScriptedTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  TestSink sink;
  std::unique_ptr<Chardev> chardev;
  char folder[32] = "/tmp/menura-socket-XXXXXX";
};

TEST_F(SocketTest, AServerServesOneClientAfterTheOther) {
  ASSERT_TRUE(open({.path = path(), .server = true, .wait = false}));
  EXPECT_EQ(chardev->where(), "disconnected:unix:" + path() + ",server=on");
  EXPECT_EQ(sink.opened, 0);
  EXPECT_EQ(chardev->write(text_bytes("nobody hears")), 12u);

  UniqueFd first = connect_unix(path());
  ASSERT_TRUE(first);
  run([&] { return sink.opened == 1; });
  EXPECT_EQ(chardev->where(), "unix:" + path() + ",server=on");
  chardev->write(text_bytes("hello"));
  EXPECT_EQ(read_some(first), "hello");

  const UniqueFd second = connect_unix(path());
  ASSERT_TRUE(second) << "waits in the queue";
  ASSERT_EQ(::write(second.get(), "B", 1), 1);
  EXPECT_FALSE(loop->run_once(5 * kNsPerMs));
  ASSERT_EQ(::write(first.get(), "A", 1), 1);
  first.reset();
  run([&] { return sink.received.size() == 2; });
  EXPECT_EQ(sink.text(), "AB") << "the last bytes of the first come before the second's";
  EXPECT_EQ(sink.events, (std::vector{CharEvent::Opened, CharEvent::Closed, CharEvent::Opened}));
}

TEST_F(SocketTest, ALeavingPeerEndsAWaitForRoom) {
  ASSERT_TRUE(open({.path = path(), .server = true, .wait = false}));
  UniqueFd client = connect_unix(path());
  run([&] { return sink.opened == 1; });
  const std::vector<std::byte> much(MiB);
  EXPECT_LT(chardev->write(much), much.size());
  int writable = 0;
  sink.on_writable = [&] { writable++; };
  client.reset();
  run([&] { return sink.closed == 1; });
  EXPECT_GE(writable, 1);
  EXPECT_EQ(chardev->write(much), much.size());
}

TEST_F(SocketTest, ACrashedServersPathIsReplacedButALivingOneIsNot) {
  { const UniqueFd dead = listen_unix(path()); }
  ASSERT_TRUE(open({.path = path(), .server = true, .wait = false}));
  EXPECT_TRUE(connect_unix(path()));
  const auto again = open_chardev(
      *loop, {.id = "c1", .kind = SocketConfig{.path = path(), .server = true, .wait = false}});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::Busy);
  EXPECT_EQ(again.error().text, "Opening character device 'c1': Listening on unix:" + path() +
                                    ": another program listens there");
  chardev.reset();
  EXPECT_FALSE(std::filesystem::exists(path())) << "removed at the end";
}

TEST_F(SocketTest, AFileInTheWayIsLeftAlone) {
  UniqueFd file = open_file(path(), O_CREAT | O_RDWR).value();
  const Result<void> opened = open({.path = path(), .server = true, .wait = false});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::Exists);
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(SocketTest, AbstractNamesWork) {
  const std::string name = "menura-test-" + std::to_string(::getpid());
  ASSERT_TRUE(open({.path = name, .abstract = true, .server = true, .wait = false}));
  EXPECT_EQ(chardev->where(), "disconnected:unix:" + name + ",server=on");
  const auto client =
      open_chardev(*loop, {.id = "c1", .kind = SocketConfig{.path = name, .abstract = true}});
  ASSERT_TRUE(client);
  run([&] { return sink.opened == 1; });
  EXPECT_EQ(sink.opened, 1);
}

TEST_F(SocketTest, WaitReturnsWithItsClient) {
  std::thread client([&] {
    UniqueFd fd;
    while (!(fd = connect_unix(path()))) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(::write(fd.get(), "hi", 2), 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  ASSERT_TRUE(open({.path = path(), .server = true}));
  EXPECT_EQ(sink.opened, 1);
  run([&] { return sink.received.size() == 2; });
  EXPECT_EQ(sink.text(), "hi");
  client.join();
}

TEST_F(SocketTest, AClientWithoutServerFailsAtOnce) {
  const Result<void> opened = open({.path = path()});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().text, "Opening character device 'c0': Connecting to unix:" + path() +
                                     ": No such file or directory");
}

TEST_F(SocketTest, AReconnectingClientComesBack) {
  ASSERT_TRUE(open({.path = path(), .reconnect = 5}));
  EXPECT_EQ(chardev->where(), "disconnected:unix:" + path());
  loop->run_once(0);
  EXPECT_EQ(sink.opened, 0);
  UniqueFd server = listen_unix(path());
  tape.advance(4 * kNsPerSecond);
  loop->run_once(0);
  EXPECT_EQ(sink.opened, 0) << "not before its time";
  tape.advance(kNsPerSecond);
  run([&] { return sink.opened == 1; });
  ASSERT_EQ(sink.opened, 1);
  UniqueFd connection(::accept(server.get(), nullptr, nullptr));
  chardev->write(text_bytes("one"));
  EXPECT_EQ(read_some(connection), "one");
  connection.reset();
  run([&] { return sink.closed == 1; });
  EXPECT_EQ(sink.closed, 1);
  tape.advance(5 * kNsPerSecond);
  run([&] { return sink.opened == 2; });
  EXPECT_EQ(sink.opened, 2);
}

TEST_F(SocketTest, TcpServerOnAnyPortAndClient) {
  ASSERT_TRUE(open({.host = "127.0.0.1", .port = "0", .server = true, .wait = false}));
  const std::string where = chardev->where();
  ASSERT_TRUE(where.starts_with("disconnected:tcp:127.0.0.1:")) << where;
  const std::string port =
      where.substr(where.rfind(':') + 1, where.rfind(',') - where.rfind(':') - 1);
  EXPECT_NE(port, "0");
  auto client = open_chardev(
      *loop, {.id = "c1", .kind = SocketConfig{.host = "localhost", .port = port, .ipv6 = false}});
  ASSERT_TRUE(client) << client.error().text;
  EXPECT_EQ((*client)->where(), "tcp:127.0.0.1:" + port);
  run([&] { return sink.opened == 1; });
  EXPECT_TRUE(chardev->where().starts_with("tcp:127.0.0.1:" + port + ",server=on <-> 127.0.0.1:"))
      << chardev->where();
  TestSink other;
  (*client)->attach(&other);
  chardev->write(text_bytes("down"));
  (*client)->write(text_bytes("up"));
  run([&] { return other.received.size() == 4 && sink.received.size() == 2; });
  EXPECT_EQ(other.text(), "down");
  EXPECT_EQ(sink.text(), "up");
  client->reset();
  run([&] { return sink.closed == 1; });
  EXPECT_EQ(sink.closed, 1);
}

TEST_F(SocketTest, ATcpClientRefusedFailsWithTheAddress) {
  // A port that was free a moment ago.
  ASSERT_TRUE(open({.host = "127.0.0.1", .port = "0", .server = true, .wait = false}));
  const std::string where = chardev->where();
  const std::string port =
      where.substr(where.rfind(':') + 1, where.rfind(',') - where.rfind(':') - 1);
  chardev.reset();
  const Result<void> opened = open({.host = "127.0.0.1", .port = port});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().text, "Opening character device 'c0': Connecting to tcp:127.0.0.1:" +
                                     port + ": Connection refused");
}

TEST_F(SocketTest, InheritedListeningSocketServesAClientFromBeforeWeStarted) {
  UniqueFd listening = listen_unix(path());
  const UniqueFd early = connect_unix(path());  // libvirt connects before our loop runs
  ASSERT_EQ(::write(early.get(), "early", 5), 5);
  ASSERT_TRUE(open({.fd = std::to_string(listening.release()), .server = true, .wait = false}));
  run([&] { return sink.received.size() == 5; });
  EXPECT_EQ(sink.text(), "early");
}

TEST_F(SocketTest, BadOptionsAreRefused) {
  const auto refused = [&](SocketConfig config, std::string_view part) {
    const Result<void> opened = open(config);
    ASSERT_FALSE(opened) << part;
    EXPECT_NE(opened.error().text.find(part), std::string::npos) << opened.error().text;
  };
  refused({}, "needs a path, or a host and a port");
  refused({.host = "localhost"}, "needs a port");
  refused({.host = "localhost", .port = "no-such-service"},
          "Resolving 'localhost:no-such-service'");
  refused({.host = "localhost", .port = "1", .ipv4 = false, .ipv6 = false}, "leave no address");
  refused({.path = std::string(200, 'x'), .server = true}, "longer than the 107 bytes");
  refused({.path = path(), .server = true, .wait = false, .reconnect = 1},
          "reconnect is for a client");
  refused({.path = path("no/such/folder"), .server = true, .wait = false},
          "No such file or directory");
  const UniqueFd file = open_file("/dev/null", O_RDWR).value();
  refused({.fd = std::to_string(file.get())}, "is not a stream socket");
  EXPECT_GE(::fcntl(file.get(), F_GETFD), 0) << "a descriptor that we refused stays open";
  UniqueFd listening = listen_unix(path());
  refused({.fd = std::to_string(listening.release())}, "listens, but server=off");
}

// Sends text with copies of a descriptor.
void send_with(int socket, std::string_view text, int fd, size_t copies) {
  std::vector<int> fds(copies, fd);
  std::vector<std::byte> control(CMSG_SPACE(copies * sizeof(int)));
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(copies * sizeof(int));
  std::copy_n(std::as_bytes(std::span(fds)).begin(), copies * sizeof(int),
              reinterpret_cast<std::byte*>(CMSG_DATA(c)));
  ASSERT_EQ(::sendmsg(socket, &message, 0), static_cast<ssize_t>(text.size()));
}

TEST_F(SocketTest, DescriptorsComeAlongWithBytes) {
  ASSERT_TRUE(open({.path = path(), .server = true, .wait = false}));
  const UniqueFd client = connect_unix(path());
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  send_with(client.get(), "take this", writer.get(), 1);
  writer.reset();
  run([&] { return sink.received.size() == 9; });
  std::vector<UniqueFd> fds = chardev->take_fds();
  ASSERT_EQ(fds.size(), 1u);
  EXPECT_TRUE(::fcntl(fds[0].get(), F_GETFD) & FD_CLOEXEC);
  ASSERT_EQ(::write(fds[0].get(), "!", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(reader.get(), &c, 1), 1);
  EXPECT_EQ(c, '!');
  EXPECT_TRUE(chardev->take_fds().empty());
}

TEST_F(SocketTest, APeerCannotUseUpOurDescriptors) {
  ASSERT_TRUE(open({.path = path(), .server = true, .wait = false}));
  UniqueFd client = connect_unix(path());
  for (int i = 0; i < 10; i++) send_with(client.get(), "x", client.get(), 5);
  run([&] { return sink.received.size() == 10; });
  EXPECT_EQ(chardev->take_fds().size(), 16u);
  send_with(client.get(), "x", 0, 1);
  client.reset();
  run([&] { return sink.closed == 1; });
  EXPECT_TRUE(chardev->take_fds().empty()) << "of a client that is gone";
}

}  // namespace
}  // namespace menura
