// What is particular to single kinds: files, pseudo-terminals, standard input and output, rings,
// log files, and the options of all.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/fd.h"
#include "base/log.h"
#include "base/units.h"
#include "chardev/config.h"
#include "chardev/nonblocking.h"
#include "chardev/ring.h"
#include "chardev/terminal.h"
#include "chardev/test_sink.h"
#include "event/event_loop.h"

namespace menura {
namespace {

struct KindsTest : testing::Test {
  void SetUp() override { ASSERT_TRUE(::mkdtemp(folder)); }
  void TearDown() override {
    chardev.reset();
    set_log_sink({});
    std::filesystem::remove_all(folder);
  }
  Result<void> open(ChardevConfig config) {
    config.id = "c0";
    chardev = TRY(open_chardev(*loop, config));
    chardev->attach(&sink);
    return {};
  }
  template <class Condition>
  void run(Condition condition) {
    for (int i = 0; i < 3000 && !condition(); i++) loop->run_once(kNsPerMs);
  }
  std::string path(const char* name) { return std::string(folder) + "/" + name; }
  std::string content(const char* name) { return read_file(path(name), MiB).value(); }
  void write_file(const char* name, std::string_view text) {
    const UniqueFd fd = open_file(path(name), O_WRONLY | O_CREAT | O_TRUNC).value();
    ASSERT_TRUE(write_all(fd.get(), text_bytes(text)));
  }

  ScriptedTape tape;
  MachineLock lock;
  std::unique_ptr<EventLoop> loop = EventLoop::create(tape, lock).value();
  TestSink sink;
  std::unique_ptr<Chardev> chardev;
  char folder[32] = "/tmp/menura-kinds-XXXXXX";
};

TEST_F(KindsTest, NullTakesAllAndGivesNothing) {
  ASSERT_TRUE(open({.kind = NullConfig{}}));
  EXPECT_EQ(chardev->write(std::vector<std::byte>(MiB)), MiB);
  EXPECT_EQ(chardev->where(), "null");
  EXPECT_FALSE(loop->run_once(0));
}

TEST_F(KindsTest, FilesAreEmptiedOrAppendedTo) {
  write_file("log", "old\n");
  ASSERT_TRUE(open({.kind = FileConfig{.path = path("log"), .append = true}}));
  chardev->write(text_bytes("new\n"));
  EXPECT_EQ(content("log"), "old\nnew\n");
  chardev.reset();
  ASSERT_TRUE(open({.kind = FileConfig{.path = path("log")}}));
  chardev->write(text_bytes("only\n"));
  EXPECT_EQ(content("log"), "only\n");
}

TEST_F(KindsTest, FileInputIsReadToItsEnd) {
  const std::string text(10'000, 'i');
  write_file("in", text);
  ASSERT_TRUE(open({.kind = FileConfig{.path = path("out"), .input_path = path("in")}}));
  run([&] { return sink.received.size() == text.size(); });
  EXPECT_EQ(sink.text(), text);
  loop->run_once(0);
  EXPECT_FALSE(loop->run_once(5 * kNsPerMs)) << "the loop turns at the end of the file";
  chardev->write(text_bytes("still"));
  EXPECT_EQ(content("out"), "still");
}

TEST_F(KindsTest, FileErrorsNameTheFile) {
  const Result<void> opened = open({.kind = FileConfig{.path = path("no/where")}});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().text, "Opening character device 'c0': Opening '" + path("no/where") +
                                     "': No such file or directory");
  EXPECT_FALSE(open({.kind = FileConfig{}}));
  EXPECT_FALSE(open({.kind = FileConfig{.path = path("out"), .input_path = path("absent")}}));
}

// A full disk: the machine goes on, the operator is told what is lost, once.
TEST_F(KindsTest, AFullDiskIsReportedWithTheLoss) {
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  ASSERT_TRUE(open({.kind = FileConfig{.path = path("out")}}));
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{10, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limited);
  EXPECT_EQ(chardev->write(text_bytes("0123456789abc")), 13u);
  EXPECT_EQ(chardev->write(text_bytes("de")), 2u);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(chardev->write(text_bytes("f")), 1u);
  ::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(content("out"), "0123456789f");
  EXPECT_EQ(lines, (std::vector<std::string>{
                       "Character device 'c0' loses output: File too large",
                       "Character device 'c0' works again; 5 bytes of output were lost"}));
}

TEST_F(KindsTest, LogfileGetsWhatWasTaken) {
  ASSERT_TRUE(open({.logfile = path("log"), .kind = NullConfig{}}));
  chardev->write(text_bytes("one "));
  chardev->write(text_bytes("two"));
  EXPECT_EQ(content("log"), "one two");
  ASSERT_TRUE(open({.logfile = path("log"), .logappend = true, .kind = NullConfig{}}));
  chardev->write(text_bytes("!"));
  EXPECT_EQ(content("log"), "one two!");
  EXPECT_FALSE(open({.logfile = path("no/where"), .kind = NullConfig{}}));
}

TEST_F(KindsTest, PtyTellsOfOpenersAndDropsOutputWithoutThem) {
  ASSERT_TRUE(open({.kind = PtyConfig{}}));
  const std::string where = chardev->where();
  ASSERT_TRUE(where.starts_with("pty:/dev/pts/")) << where;
  const std::vector<std::byte> much(MiB);
  EXPECT_EQ(chardev->write(much), MiB) << "dropped";
  EXPECT_EQ(sink.opened, 0);
  EXPECT_FALSE(loop->run_once(10 * kNsPerMs)) << "the loop turns while nobody has it open";
  for (int round = 1; round <= 3; round++) {
    UniqueFd user = open_file(where.substr(4), O_RDWR | O_NOCTTY).value();
    run([&] { return sink.opened == round; });
    ASSERT_EQ(sink.opened, round);
    chardev->write(text_bytes("login:"));
    char text[16] = {};
    ASSERT_EQ(::read(user.get(), text, sizeof text), 6);
    EXPECT_STREQ(text, "login:");
    user.reset();
    run([&] { return sink.closed == round; });
    ASSERT_EQ(sink.closed, round);
  }
  EXPECT_FALSE(loop->run_once(10 * kNsPerMs));
}

TEST_F(KindsTest, PtyKeepsWhatAQuickWriterLeft) {
  ASSERT_TRUE(open({.kind = PtyConfig{}}));
  {
    const UniqueFd user = open_file(chardev->where().substr(4), O_RDWR | O_NOCTTY).value();
    ASSERT_EQ(::write(user.get(), "reboot\n", 7), 7);
  }
  run([&] { return sink.closed == 1; });
  EXPECT_EQ(sink.text(), "reboot\n");
}

// Without inotify a timer looks once a second.
TEST_F(KindsTest, PtyWorksWithoutInotify) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  // Room for the master and the slave, none for an inotify descriptor.
  const UniqueFd lowest = open_file("/dev/null", O_RDONLY).value();
  const rlimit tight{static_cast<rlim_t>(lowest.get()) + 3, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &tight);
  const Result<void> opened = open({.kind = PtyConfig{}});
  ::setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(opened) << opened.error().text;
  const UniqueFd user = open_file(chardev->where().substr(4), O_RDWR | O_NOCTTY).value();
  tape.advance(2 * kNsPerSecond);
  run([&] { return sink.opened == 1; });
  EXPECT_EQ(sink.opened, 1);
}

TEST_F(KindsTest, RingKeepsTheNewest) {
  auto ring = RingChardev::create(tape, 8).value();
  EXPECT_EQ(ring->write(text_bytes("0123456789")), 10u);
  EXPECT_EQ(ring->lost(), 2u);
  EXPECT_EQ(ring->read(3), "234");
  EXPECT_EQ(ring->read(100), "56789");
  EXPECT_EQ(ring->read(100), "");
  EXPECT_FALSE(RingChardev::create(tape, 0));
  EXPECT_FALSE(RingChardev::create(tape, 100));
  EXPECT_FALSE(RingChardev::create(tape, 2 * GiB));
}

TEST_F(KindsTest, OptionsAreReadByName) {
  const auto read = [](std::string_view text) -> Result<ChardevConfig> {
    Value value = TRY(parse_keyval(text, "backend"));
    const std::string kind = *value.find("backend")->as<std::string>();
    value.erase("backend");
    ChardevConfig config = TRY(chardev_config(kind));
    TRY(read_properties(config, value, "chardev"));
    return config;
  };
  const Result<ChardevConfig> good = read("socket,id=m,path=/run/m,server=on,wait=off,logfile=l");
  ASSERT_TRUE(good) << good.error().text;
  EXPECT_EQ(good->id, "m");
  EXPECT_EQ(good->logfile, "l");
  const auto& socket = std::get<SocketConfig>(good->kind);
  EXPECT_EQ(socket.path, "/run/m");
  EXPECT_TRUE(socket.server);
  EXPECT_FALSE(socket.wait);
  EXPECT_EQ(socket.fd, "");
  EXPECT_EQ(std::get<SocketConfig>(read("socket,id=m,fd=27,server=on")->kind).fd, "27");
  EXPECT_EQ(std::get<RingConfig>(read("ringbuf,id=r,size=1M")->kind).size.bytes, MiB);

  const auto refused = [&](std::string_view text, std::string_view part) {
    const Result<ChardevConfig> config = read(text);
    ASSERT_FALSE(config) << text;
    EXPECT_NE(config.error().text.find(part), std::string::npos) << config.error().text;
  };
  refused("sockt,id=x", "did you mean 'socket'");
  refused("file,id=x", "path");
  refused("null,path=x", "id");
  refused("pty,id=x,pth=y", "pth");
  EXPECT_EQ(chardev_kinds().size(), 6u);
  for (const ChardevKind& kind : chardev_kinds()) {
    EXPECT_FALSE(kind.help.empty());
    EXPECT_TRUE(chardev_config(kind.name));
  }
}

struct Terminal {
  Terminal() {
    int m = -1, s = -1;
    ensure(::openpty(&m, &s, nullptr, nullptr, nullptr) == 0, "openpty");
    master = UniqueFd(m);
    slave = UniqueFd(s);
  }
  bool cooked() const { return flags() == (ECHO | ICANON | ISIG); }
  tcflag_t flags() const {
    termios settings{};
    ::tcgetattr(slave.get(), &settings);
    return settings.c_lflag & (ECHO | ICANON | ISIG);
  }
  UniqueFd master, slave;
};

TEST(RawTerminal, IsRawForItsLife) {
  const Terminal terminal;
  ASSERT_TRUE(terminal.cooked());
  for (const KeySignals signals : {KeySignals::Off, KeySignals::On}) {
    auto raw = RawTerminal::enter(terminal.slave.get(), signals);
    ASSERT_TRUE(raw);
    EXPECT_EQ(terminal.flags(), signals == KeySignals::On ? ISIG : 0u);
    const auto second = RawTerminal::enter(terminal.slave.get(), signals);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::Busy);
    raw->reset();
    EXPECT_TRUE(terminal.cooked());
  }
  const UniqueFd null = open_file("/dev/null", O_RDWR).value();
  EXPECT_FALSE(RawTerminal::enter(null.get(), KeySignals::Off));
}

// A child makes the terminal raw and ends in the given way; its terminal must be as before.
template <class End>
int end_raw(const Terminal& terminal, End end) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    auto raw = RawTerminal::enter(terminal.slave.get(), KeySignals::Off);
    if (!raw || terminal.cooked()) ::_exit(99);
    end();
    ::_exit(98);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(RawTerminal, IsRestoredByExitAndFatalSignals) {
  const Terminal terminal;
  const int exited = end_raw(terminal, [] { std::exit(3); });
  EXPECT_TRUE(WIFEXITED(exited) && WEXITSTATUS(exited) == 3) << exited;
  EXPECT_TRUE(terminal.cooked());
  for (const int signal : {SIGABRT, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    const int status = end_raw(terminal, [signal] { ::raise(signal); });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal;
    EXPECT_TRUE(terminal.cooked()) << signal;
  }
}

TEST(RawTerminal, ComesBackAfterAStop) {
  const Terminal terminal;
  const auto raw = RawTerminal::enter(terminal.slave.get(), KeySignals::Off);
  ASSERT_TRUE(raw);
  termios cooked{};
  ::tcgetattr(terminal.slave.get(), &cooked);
  cooked.c_lflag |= ECHO | ICANON | ISIG;
  ::tcsetattr(terminal.slave.get(), TCSANOW, &cooked);  // as the shell does
  ::raise(SIGCONT);
  EXPECT_EQ(terminal.flags(), 0u);
}

TEST(NonBlocking, LeavesTheSharedDescriptionAlone) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd from(ends[0]), to(ends[1]);
  const auto in = NonBlocking::open(from.get());
  ASSERT_TRUE(in);
  char c;
  EXPECT_EQ(::read(in->get(), &c, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_FALSE(::fcntl(from.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_FALSE(NonBlocking::open(-1));
}

// A socket cannot be opened anew: its flag is set, and restored.
TEST(NonBlocking, RestoresASocketsFlags) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const UniqueFd a(ends[0]), b(ends[1]);
  {
    const auto socket = NonBlocking::open(a.get());
    ASSERT_TRUE(socket);
    EXPECT_TRUE(::fcntl(a.get(), F_GETFL) & O_NONBLOCK);
  }
  EXPECT_FALSE(::fcntl(a.get(), F_GETFL) & O_NONBLOCK);
}

}  // namespace
}  // namespace menura
