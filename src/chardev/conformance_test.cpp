// What every chardev does, whatever its kind: one suite over all of them. Each Rig knows how to
// make one chardev and how to act as the host's side of it, with plain system calls.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>

#include "base/fd.h"
#include "base/units.h"
#include "chardev/config.h"
#include "chardev/mux.h"
#include "chardev/ring.h"
#include "chardev/test_sink.h"
#include "event/event_loop.h"

namespace menura {
namespace {

struct Rig {
  virtual ~Rig() = default;
  virtual Result<void> open(EventLoop& loop, const std::string& folder) = 0;
  virtual Chardev& chardev() = 0;
  // The host's side; neither blocks. send() returns how much the host took.
  virtual size_t send(ConstBytes bytes) = 0;
  virtual std::vector<std::byte> take(size_t max) = 0;
  // Whether output waits for a reader (else the host takes any amount).
  virtual bool output_waits() const { return true; }
};

struct FdRig : Rig {
  Chardev& chardev() override { return *chardev_; }
  size_t send(ConstBytes bytes) override {
    const ssize_t n = ::write(to_, bytes.data(), bytes.size());
    return n > 0 ? static_cast<size_t>(n) : 0;
  }
  std::vector<std::byte> take(size_t max) override {
    std::vector<std::byte> bytes(max);
    const ssize_t n = ::read(from_, bytes.data(), bytes.size());
    bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return bytes;
  }
  void use(UniqueFd fd) {
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    to_ = from_ = fd.get();
    peer_ = std::move(fd);
  }
  Result<void> make(EventLoop& loop, ChardevConfig config) {
    config.id = "test";
    chardev_ = TRY(open_chardev(loop, config));
    return {};
  }
  std::unique_ptr<Chardev> chardev_;
  UniqueFd peer_;
  int to_ = -1;
  int from_ = -1;
};

struct PtyRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    TRY(make(loop, {.kind = PtyConfig{}}));
    use(TRY(open_file(chardev_->where().substr(4), O_RDWR | O_NOCTTY)));
    return {};
  }
};

struct UnixServerRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string& folder) override {
    const std::string path = folder + "/socket";
    TRY(make(loop, {.kind = SocketConfig{.path = path, .server = true, .wait = false}}));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0)
      return fail_errno(errno, "connect");
    use(std::move(fd));
    return {};
  }
};

// As libvirt passes one end.
struct InheritedSocketRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    use(UniqueFd(ends[1]));
    return make(loop, {.kind = SocketConfig{.fd = std::to_string(ends[0])}});
  }
};

// Both directions are FIFOs, as `-chardev file` may have.
struct FileRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string& folder) override {
    const std::string in = folder + "/in", out = folder + "/out";
    ensure(::mkfifo(in.c_str(), 0600) == 0 && ::mkfifo(out.c_str(), 0600) == 0, "mkfifo");
    to_fd_ = TRY(open_file(in, O_RDWR | O_NONBLOCK));
    from_fd_ = TRY(open_file(out, O_RDONLY | O_NONBLOCK));
    to_ = to_fd_.get();
    from_ = from_fd_.get();
    return make(loop, {.kind = FileConfig{.path = out, .input_path = in}});
  }
  UniqueFd to_fd_, from_fd_;
};

// Standard input and output become pipes or a terminal for the time of the test.
struct StdioRig : FdRig {
  ~StdioRig() override {
    chardev_.reset();
    if (saved_in_) ::dup2(saved_in_.get(), STDIN_FILENO);
    if (saved_out_) ::dup2(saved_out_.get(), STDOUT_FILENO);
  }
  void replace(int in, int out) {
    std::fflush(stdout);
    saved_in_ = UniqueFd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10));
    saved_out_ = UniqueFd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10));
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
  }
  UniqueFd saved_in_, saved_out_;
};

struct StdioPipesRig final : StdioRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int in[2], out[2];
    ensure(::pipe2(in, O_CLOEXEC) == 0 && ::pipe2(out, O_CLOEXEC) == 0, "pipe2");
    const UniqueFd their_in(in[0]), their_out(out[1]);
    to_fd_ = UniqueFd(in[1]);
    from_fd_ = UniqueFd(out[0]);
    ::fcntl(to_ = in[1], F_SETFL, O_NONBLOCK);
    ::fcntl(from_ = out[0], F_SETFL, O_NONBLOCK);
    replace(their_in.get(), their_out.get());
    return make(loop, {.kind = StdioConfig{}});
  }
  UniqueFd to_fd_, from_fd_;
};

struct StdioTerminalRig final : StdioRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int master = -1, slave = -1;
    ensure(::openpty(&master, &slave, nullptr, nullptr, nullptr) == 0, "openpty");
    const UniqueFd terminal(slave);
    use(UniqueFd(master));
    replace(slave, slave);
    TRY(make(loop, {.kind = StdioConfig{.signal = false}}));
    // The terminal's own work on output (a carriage return before each newline) is not our subject.
    termios settings{};
    ::tcgetattr(slave, &settings);
    settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
    ::tcsetattr(slave, TCSANOW, &settings);
    return {};
  }
};

struct LoggedRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string& folder) override {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    use(UniqueFd(ends[1]));
    return make(loop,
                {.logfile = folder + "/log", .kind = SocketConfig{.fd = std::to_string(ends[0])}});
  }
};

struct MuxRig final : FdRig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    int ends[2];
    ensure(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    use(UniqueFd(ends[1]));
    TRY(make(loop, {.kind = SocketConfig{.fd = std::to_string(ends[0])}}));
    mux_ = std::make_unique<Mux>(std::move(chardev_), [] {});
    port_ = &mux_->add_port();
    return {};
  }
  Chardev& chardev() override { return *port_; }
  // Ctrl-A must be typed twice.
  size_t send(ConstBytes bytes) override {
    size_t sent = 0;
    for (const std::byte b : bytes) {
      const std::byte twice[] = {b, b};
      const size_t size = b == std::byte{1} ? 2 : 1;
      if (FdRig::send(std::span(twice).first(size)) != size) break;
      sent++;
    }
    return sent;
  }
  std::unique_ptr<Mux> mux_;
  Chardev* port_ = nullptr;
};

struct RingRig final : Rig {
  Result<void> open(EventLoop& loop, const std::string&) override {
    ring_ = TRY(RingChardev::create(loop.tape(), MiB));
    return {};
  }
  Chardev& chardev() override { return *ring_; }
  size_t send(ConstBytes bytes) override {
    ring_->feed(bytes);
    return bytes.size();
  }
  std::vector<std::byte> take(size_t max) override {
    const std::string text = ring_->read(max);
    const ConstBytes bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
  bool output_waits() const override { return false; }
  std::unique_ptr<RingChardev> ring_;
};

struct Kind {
  const char* name;
  std::unique_ptr<Rig> (*make)();
};
template <class T>
std::unique_ptr<Rig> make_rig() {
  return std::make_unique<T>();
}
const Kind kKinds[] = {
    {"Pty", make_rig<PtyRig>},
    {"UnixServer", make_rig<UnixServerRig>},
    {"InheritedSocket", make_rig<InheritedSocketRig>},
    {"File", make_rig<FileRig>},
    {"StdioPipes", make_rig<StdioPipesRig>},
    {"StdioTerminal", make_rig<StdioTerminalRig>},
    {"Logged", make_rig<LoggedRig>},
    {"Mux", make_rig<MuxRig>},
    {"Ring", make_rig<RingRig>},
};

std::vector<std::byte> pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<std::byte>((i + i / 256) & 0xff);
  return bytes;
}

class Conformance : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(::mkdtemp(folder_));
    rig_ = GetParam().make();
    const Result<void> opened = rig_->open(*loop_, folder_);
    ASSERT_TRUE(opened) << opened.error().text;
    rig_->chardev().attach(&sink_);
    run([&] { return sink_.opened == 1; });
    EXPECT_EQ(sink_.opened, 1);
  }
  void TearDown() override {
    EXPECT_EQ(sink_.violations, 0);
    rig_.reset();
    std::filesystem::remove_all(folder_);
  }
  // Runs the loop until the condition holds, at most some seconds.
  void run(const std::function<bool()>& condition) {
    for (int i = 0; i < 20000 && !condition(); i++) loop_->run_once(kNsPerMs / 4);
  }
  // Lets what is on its way arrive.
  void settle() {
    for (int i = 0; i < 5 || loop_->run_once(5 * kNsPerMs); i++)
      if (i > 200) break;
  }
  Chardev& chardev() { return rig_->chardev(); }

  LiveTape tape_;
  MachineLock lock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::create(tape_, lock_).value();
  TestSink sink_;
  char folder_[32] = "/tmp/menura-chardev-XXXXXX";
  std::unique_ptr<Rig> rig_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, Conformance, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST_P(Conformance, EveryByteValuePassesBothWays) {
  const auto bytes = pattern(256);
  EXPECT_EQ(chardev().write(bytes), 256u);
  std::vector<std::byte> got;
  run([&] {
    const auto more = rig_->take(1000);
    got.insert(got.end(), more.begin(), more.end());
    return got.size() >= 256;
  });
  EXPECT_EQ(got, bytes);

  EXPECT_EQ(rig_->send(bytes), 256u);
  run([&] { return sink_.received.size() >= 256; });
  EXPECT_EQ(sink_.received, bytes);
  EXPECT_TRUE(chardev().write({}) == 0);
}

// Input waits for room, arrives whole and in order, and costs nothing while it waits.
TEST_P(Conformance, InputRespectsRoom) {
  const auto bytes = pattern(2000);
  sink_.space = 0;
  size_t sent = rig_->send(bytes);
  ASSERT_GT(sent, 0u);
  settle();
  EXPECT_TRUE(sink_.received.empty());
  rusage before{}, after{};
  ::getrusage(RUSAGE_THREAD, &before);
  EXPECT_FALSE(loop_->run_once(20 * kNsPerMs)) << "the loop turns while the sink is full";
  ::getrusage(RUSAGE_THREAD, &after);
  EXPECT_LE(after.ru_nvcsw - before.ru_nvcsw, 3);
  // A guest that takes a few bytes at a time.
  for (int round = 0; sink_.received.size() < bytes.size() && round < 5000; round++) {
    sink_.space = 1 + static_cast<size_t>(round) % 16;
    chardev().accept_input();
    run([&] { return sink_.space == 0 || sink_.received.size() == sent; });
    if (sent < bytes.size()) sent += rig_->send(ConstBytes(bytes).subspan(sent));
  }
  EXPECT_EQ(sink_.received, bytes);
  EXPECT_LE(sink_.largest, 16u);
}

// The host does not read: write() takes what fits, returns at once, and asks for the rest later.
TEST_P(Conformance, OutputWaitsForAReaderAndLosesNothing) {
  const auto bytes = pattern(MiB);
  size_t taken = 0;
  const auto push = [&] {
    while (taken < bytes.size()) {
      const size_t n = chardev().write(ConstBytes(bytes).subspan(taken));
      taken += n;
      if (n == 0) break;
    }
  };
  sink_.on_writable = push;
  push();
  if (rig_->output_waits()) {
    EXPECT_LT(taken, bytes.size());
    EXPECT_FALSE(loop_->run_once(10 * kNsPerMs)) << "the loop turns while nobody reads";
  }
  std::vector<std::byte> got;
  run([&] {
    const auto more = rig_->take(30'000);
    got.insert(got.end(), more.begin(), more.end());
    return got.size() >= bytes.size();
  });
  EXPECT_EQ(taken, bytes.size());
  EXPECT_TRUE(got == bytes) << got.size() << " bytes";
}

TEST_P(Conformance, InputWaitsWhileNobodyIsAttached) {
  chardev().attach(nullptr);
  const auto bytes = pattern(100);
  ASSERT_EQ(rig_->send(bytes), 100u);
  settle();
  EXPECT_TRUE(sink_.received.empty());
  TestSink other;
  chardev().attach(&other);
  EXPECT_EQ(other.opened, 1);
  run([&] { return other.received.size() == 100; });
  EXPECT_EQ(other.received, bytes);
  EXPECT_TRUE(sink_.received.empty());
  chardev().attach(nullptr);
  EXPECT_EQ(chardev().write(bytes), 100u);
}

// A sink that changes things from inside its callback, as devices do.
TEST_P(Conformance, SinksMayWriteDetachAndAcceptInsideReceive) {
  sink_.space = 1;
  sink_.on_receive = [&] {
    chardev().write(sink_.received);
    sink_.space = 1;
    chardev().accept_input();
    if (sink_.received.size() == 3) chardev().attach(nullptr);
  };
  const auto bytes = pattern(10);
  ASSERT_EQ(rig_->send(bytes), 10u);
  run([&] { return sink_.received.size() >= 3; });
  settle();
  EXPECT_EQ(sink_.received.size(), 3u);
}

TEST_P(Conformance, InputPassesTheTapesDoor) {
  struct CountingTape final : ScriptedTape {
    int inputs = 0;
    void input(std::function<void()> deliver) override {
      inputs++;
      deliver();
    }
  };
  // A loop of its own, with a Tape that counts.
  CountingTape tape;
  MachineLock lock;
  const auto loop = EventLoop::create(tape, lock).value();
  TestSink sink;
  rig_.reset();
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directory(folder_);
  rig_ = GetParam().make();
  ASSERT_TRUE(rig_->open(*loop, folder_));
  rig_->chardev().attach(&sink);
  const auto bytes = pattern(5);
  for (int i = 0; i < 5; i++) loop->run_once(kNsPerMs);
  rig_->send(bytes);
  for (int i = 0; i < 100 && sink.received.size() < 5; i++) loop->run_once(kNsPerMs);
  EXPECT_EQ(sink.received, bytes);
  EXPECT_GE(tape.inputs, 1);
  rig_.reset();
}

}  // namespace
}  // namespace menura
