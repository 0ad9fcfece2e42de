// Two ends of our own over a socket pair, one on a thread; other programs' ends are met in
// tests/block/nbd.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/fd.h"
#include "tls/session.h"

namespace menura {
namespace {

class Socket final : public TlsTransport {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  i64 pull(Bytes to) override { return ::recv(fd_.get(), to.data(), to.size(), 0); }
  i64 push(ConstBytes from) override {
    return ::send(fd_.get(), from.data(), from.size(), MSG_NOSIGNAL);
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

Value options(std::initializer_list<std::pair<std::string_view, std::string>> members) {
  Value object = Value::object();
  for (const auto& [name, value] : members) object.set(name, value);
  return object;
}

class Tls : public testing::Test {
 protected:
  Tls() {
    folder = std::filesystem::temp_directory_path() / format("menura-tls-{}", ::getpid());
    std::filesystem::create_directory(folder);
    keys("alice:0123456789abcdef0123456789abcdef\nbob:00ff00ff00ff00ff00ff00ff00ff00ff\n");
  }
  ~Tls() override { std::filesystem::remove_all(folder); }
  void keys(std::string_view text) { std::ofstream(folder / "keys.psk") << text; }
  static Result<std::shared_ptr<const TlsCredentials>> load(std::string_view type, const Value& v) {
    return TlsCredentials::load(type, v, [](std::string_view) -> Result<std::string> {
      return fail(Errc::NotFound, "No secrets here");
    });
  }
  // What the client's handshake said; after success "ping" went there, and back.
  Result<void> meet(std::shared_ptr<const TlsCredentials> server,
                    std::shared_ptr<const TlsCredentials> client) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    std::thread other([&server, fd = ends[0]] {
      Socket socket(fd);
      auto session = TlsSession::create(server, socket, "");
      if (!session || !(*session)->handshake()) return;
      std::array<std::byte, 16> buffer;
      const Result<size_t> got = (*session)->read(buffer);
      if (got) {
        EXPECT_TRUE((*session)->write(Bytes(buffer).first(*got)));
      }
    });
    Socket socket(ends[1]);
    const auto talk = [&]() -> Result<void> {
      auto session = TRY(TlsSession::create(client, socket, ""));
      TRY(session->handshake());
      const std::string_view ping = "ping";
      TRY(session->write(bytes_of(ping)));
      std::array<std::byte, 16> buffer;
      EXPECT_EQ(TRY(session->read(buffer)), ping.size());
      EXPECT_EQ(std::memcmp(buffer.data(), ping.data(), ping.size()), 0);
      return {};
    };
    Result<void> outcome = talk();
    socket.close();
    other.join();
    return outcome;
  }
  std::filesystem::path folder;
};

TEST_F(Tls, AnonymousEndsMeet) {
  const auto server = load("tls-creds-anon", options({{"endpoint", "server"}}));
  const auto client = load("tls-creds-anon", options({{"endpoint", "client"}}));
  ASSERT_TRUE(server && client);
  const Result<void> met = meet(*server, *client);
  EXPECT_TRUE(met) << met.error().text;
}

TEST_F(Tls, SharedKeysMustAgree) {
  const std::string dir = folder;
  const auto server = load("tls-creds-psk", options({{"endpoint", "server"}, {"dir", dir}}));
  const auto alice = load("tls-creds-psk", options({{"dir", dir}, {"username", "alice"}}));
  ASSERT_TRUE(server && alice);
  EXPECT_TRUE(meet(*server, *alice));
  const auto stranger = load("tls-creds-psk", options({{"dir", dir}, {"username", "eve"}}));
  ASSERT_FALSE(stranger);
  EXPECT_THAT(stranger.error().text, testing::HasSubstr("eve"));
  keys("alice:ffffffffffffffffffffffffffffffff\n");
  const auto impostor = load("tls-creds-psk", options({{"dir", dir}, {"username", "alice"}}));
  ASSERT_TRUE(impostor);
  const auto before = load("tls-creds-psk", options({{"dir", dir}, {"username", "alice"}}));
  keys("alice:0123456789abcdef0123456789abcdef\n");
  EXPECT_FALSE(meet(*server, *impostor));
}

TEST_F(Tls, WrongOptionsAreNamed) {
  const auto expect = [](const auto& made, std::string_view part) {
    ASSERT_FALSE(made);
    EXPECT_THAT(made.error().text, testing::HasSubstr(part));
  };
  expect(load("tls-creds-psk", options({{"endpoint", "both"}, {"dir", folder}})), "client");
  expect(load("tls-creds-psk", options({{"endpoint", "server"}})), "dir");
  expect(load("tls-creds-x509", options({{"dir", folder}})), "ca-cert.pem");
  expect(load("tls-creds-anon", options({{"username", "x"}})), "username");
  std::ofstream(folder / "ca-cert.pem") << "no certificate\n";
  expect(load("tls-creds-x509", options({{"dir", folder}})), "ca-cert.pem");
  EXPECT_EQ(TlsCredentials::kind_of("secret"), std::nullopt);
}

}  // namespace
}  // namespace menura
