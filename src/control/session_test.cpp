#include "control/session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "base/units.h"
#include "machine/catalogue/catalogue_tables.h"

namespace menura {
namespace {

std::string temporary(std::string_view name) {
  return format("{}/menura-{}-{}", ::testing::TempDir(), ::getpid(), name);
}

Result<std::unique_ptr<Session>> start(std::vector<std::string_view> arguments) {
  return Session::build(TRY(parse_command_line(arguments, catalogue())));
}

// A client of a UNIX socket in the same process: the session's loop is turned while it waits.
class Peer {
 public:
  explicit Peer(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  std::string ask(Session& session, const std::string& line) {
    const std::string text = line + "\n";
    EXPECT_TRUE(write_all(fd_.get(), std::as_bytes(std::span(text))));
    std::string reply;
    for (int i = 0; i < 1000 && !reply.ends_with('\n'); i++) {
      session.machine().loop().run_once(kNsPerMs);
      char buffer[4096];
      const ssize_t got = ::read(fd_.get(), buffer, sizeof buffer);
      if (got > 0) reply.append(buffer, static_cast<size_t>(got));
    }
    return reply;
  }
  bool connected = false;

 private:
  UniqueFd fd_;
};

TEST(SessionTest, QtestDrivesTheDevices) {
  const std::string path = temporary("qtest");
  const std::string log = temporary("qtest-log");
  const std::string form = "unix:" + path + ",server=on,wait=off";
  auto built = start({"-accel", "qtest", "-display", "none", "-qtest", form, "-qtest-log", log});
  ASSERT_TRUE(built) << built.error().text;
  Session& session = **built;
  {
    const MachineLock::Guard guard(session.machine().lock());
    session.machine().cont();
  }
  Peer peer(path);
  ASSERT_TRUE(peer.connected);
  EXPECT_EQ(peer.ask(session, "endianness"), "OK little\n");
  EXPECT_EQ(peer.ask(session, "writel 0x1000 0x12345678"), "OK\n");
  EXPECT_EQ(peer.ask(session, "readw 0x1002"), "OK 0x0000000000001234\n");
  // The host bridge's identity, through the configuration ports.
  EXPECT_EQ(peer.ask(session, "outl 0xcf8 0x80000000"), "OK\n");
  EXPECT_EQ(peer.ask(session, "inl 0xcfc"), "OK 0x12378086\n");
  // Time moves by command only; the PIT's counter 0, mode 2, 1000 ticks: 838 us.
  EXPECT_EQ(peer.ask(session, "irq_intercept_in ioapic"), "OK\n");
  EXPECT_EQ(peer.ask(session, "clock_set 0").substr(0, 2), "OK");
  for (const char* out : {"outb 0x43 0x30", "outb 0x40 0xe8", "outb 0x40 0x03"})
    EXPECT_NE(peer.ask(session, out).find("OK"), std::string::npos) << out;
  EXPECT_NE(peer.ask(session, "clock_step 900000").find("IRQ raise 0\n"), std::string::npos);
  EXPECT_EQ(peer.ask(session, "irq_intercept_out rtc").substr(0, 4), "FAIL");
  EXPECT_EQ(peer.ask(session, "irq_intercept_in nothing").substr(0, 4), "FAIL");
  const auto transcript = read_file(log, 10'000);
  ASSERT_TRUE(transcript);
  EXPECT_NE(transcript->find("R endianness\n"), std::string::npos);
  ::unlink(log.c_str());
}

TEST(SessionTest, ASignalEndsItInOrder) {
  auto built = start({"-accel", "qtest", "-display", "none", "-S"});
  ASSERT_TRUE(built) << built.error().text;
  std::string reason;
  {
    const MachineLock::Guard guard((*built)->machine().lock());
    (*built)->machine().observe(
        [&](const MachineEvent& event) { reason = event.name + " " + to_json(event.data); });
  }
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::kill(::getpid(), signal);
    EXPECT_EQ((*built)->run(), 0);
    EXPECT_EQ(reason, "SHUTDOWN {\"guest\": false, \"reason\": \"host-signal\"}");
  }
}

TEST(SessionTest, GlobalsAreDefaultsOfDevices) {
  for (const bool overridden : {false, true}) {
    auto built =
        start({"-accel", "qtest", "-display", "none", "-global", "isa-debug-exit.iobase=0x600",
               "-device", overridden ? "isa-debug-exit,iobase=0x610" : "isa-debug-exit"});
    ASSERT_TRUE(built) << built.error().text;
    {
      const MachineLock::Guard guard((*built)->machine().lock());
      (*built)->machine().io().store({overridden ? 0x610u : 0x600u}, 1, 3);
    }
    EXPECT_EQ((*built)->run(), 3 << 1 | 1);
  }
}

TEST(SessionTest, ErrorsNameTheOption) {
  const auto error = [](std::vector<std::string_view> arguments) {
    const auto session = start(std::move(arguments));
    return session ? std::string("no error") : session.error().text;
  };
  EXPECT_NE(error({"-accel", "qtest", "-hda", "/nonexistent"}).find("/nonexistent"),
            std::string::npos);
  EXPECT_NE(error({"-accel", "qtest", "-display", "none", "-mon", "c"}).find("'c'"),
            std::string::npos);
  EXPECT_NE(error({"-accel", "kwm"}).find("did you mean 'kvm'"), std::string::npos);
  EXPECT_NE(error({"-accel", "qtest", "-display", "none", "-device", "isa-serial,iobas=1"})
                .find("did you mean 'iobase'"),
            std::string::npos);
}

TEST(PidfileTest, HoldsTheNumberUntilTheEnd) {
  const std::string path = temporary("pid");
  {
    const auto pidfile = Pidfile::write(path);
    ASSERT_TRUE(pidfile);
    EXPECT_EQ(read_file(path, 100).value(), format("{}\n", ::getpid()));
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  EXPECT_FALSE(Pidfile::write("/nonexistent/pid"));
}

}  // namespace
}  // namespace menura
