#include "display/rfb_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "display/rfb_protocol.h"
#include "display/vnc_server.h"
#include "event/tape.h"

namespace menura {
namespace {

struct Screen final : DisplaySource {
  void refresh(Display& display) override {
    display.resize(width, height);
    if (std::exchange(dirty, false)) display.changed({0, 0, width, height});
  }
  void invalidate() override { dirty = true; }
  u32 width = 100, height = 50;
  bool dirty = true;
};

struct Typist final : InputSink {
  InputKinds takes() const override {
    return {.keys = true, .relative = !tablet, .absolute = tablet};
  }
  std::string_view input_name() const override { return "typist"; }
  void key(Key key, bool down) override {
    log += std::string(down ? "+" : "-") + std::string(key_name(key)) + " ";
  }
  void move(i32 dx, i32 dy) override { log += format("move {},{} ", dx, dy); }
  void move_to(u16 x, u16 y) override { log += format("at {},{} ", x, y); }
  void button(PointerButton button, bool down) override {
    log += format("{}b{} ", down ? "+" : "-", static_cast<int>(button));
  }
  void wheel(i32 up, i32) override { log += format("wheel {} ", up); }
  bool tablet = false;
  std::string log;
};

struct SessionTest : testing::Test, RfbHost, RfbWire {
  SessionTest() { input.add(typist); }
  // RfbHost
  Display& display() override { return screen_display; }
  Inputs& inputs() override { return input; }
  const Keymap& keymap() override { return *Keymap::of("en-us").value(); }
  std::string desktop_name() override { return "test"; }
  VncAuth auth() override { return wanted_auth; }
  VncTls tls() override { return wanted_tls; }
  bool check_response(ConstBytes challenge, ConstBytes response) override {
    return std::ranges::equal(vnc_response("secret", challenge), response);
  }
  void random(Bytes to) override { std::ranges::fill(to, std::byte{0x5a}); }
  bool admit(RfbSession&, bool) override { return admits; }
  void wake() override { wakes++; }
  void encode(std::function<void()> work, std::function<void()> done) override {
    work();
    finished = std::move(done);
  }
  // RfbWire
  void send(ConstBytes bytes) override { sent.insert(sent.end(), bytes.begin(), bytes.end()); }
  size_t unsent() const override { return held; }
  void start_tls() override { tls_started = true; }

  size_t say(const std::vector<u8>& bytes) {
    input_bytes.insert(input_bytes.end(), std::as_bytes(std::span(bytes)).begin(),
                       std::as_bytes(std::span(bytes)).end());
    const size_t used = session.receive(input_bytes);
    input_bytes.erase(input_bytes.begin(), input_bytes.begin() + static_cast<std::ptrdiff_t>(used));
    return used;
  }
  void say_text(std::string_view text) { say(std::vector<u8>(text.begin(), text.end())); }
  std::vector<int> heard() {
    std::vector<int> bytes;
    for (const std::byte b : std::exchange(sent, {})) bytes.push_back(static_cast<int>(b));
    return bytes;
  }
  void come_in() {
    session.start();
    say_text("RFB 003.008\n");
    say({1});
    say({1});
    sent.clear();
  }
  void update() {
    session.update();
    if (finished) std::exchange(finished, {})();
  }

  ScriptedTape tape;
  Inputs input{tape};
  Typist typist;
  Screen screen;
  Display screen_display{"screen", screen};
  VncAuth wanted_auth = VncAuth::None;
  VncTls wanted_tls = VncTls::Off;
  bool admits = true;
  unsigned wakes = 0;
  size_t held = 0;
  bool tls_started = false;
  std::function<void()> finished;
  std::vector<std::byte> sent, input_bytes;
  RfbSession session{*this, *this};
};

TEST_F(SessionTest, Version38WithoutPassword) {
  session.start();
  EXPECT_EQ(heard().size(), 12u);
  say_text("RFB 003.0");
  EXPECT_TRUE(heard().empty());
  say_text("08\n");
  EXPECT_THAT(heard(), testing::ElementsAre(1, 1));
  say({1});
  EXPECT_THAT(heard(), testing::ElementsAre(0, 0, 0, 0));
  say({1});
  const std::vector<int> init = heard();
  ASSERT_EQ(init.size(), 24u + 4);
  EXPECT_EQ(init[1], 100);
  EXPECT_EQ(init[3], 50);
  EXPECT_TRUE(session.initialised());
}

TEST_F(SessionTest, Version33IsToldTheType) {
  session.start();
  sent.clear();
  say_text("RFB 003.003\n");
  EXPECT_THAT(heard(), testing::ElementsAre(0, 0, 0, 1));
  say({0});
  EXPECT_EQ(heard().size(), 28u);
  EXPECT_FALSE(session.shared());
}

// A pair known from RFC 6143's algorithm: DES of zeros with the key of "password", bits reversed,
// is checked against itself by the wrong password failing.
TEST_F(SessionTest, PasswordsDecide) {
  wanted_auth = VncAuth::Vnc;
  session.start();
  say_text("RFB 003.008\n");
  sent.clear();
  say({2});
  EXPECT_EQ(heard().size(), 16u);
  const std::vector<std::byte> challenge(16, std::byte{0x5a});
  const auto answer = vnc_response("secret", challenge);
  std::vector<u8> bytes;
  for (const std::byte b : answer) bytes.push_back(static_cast<u8>(b));
  say(bytes);
  EXPECT_THAT(heard(), testing::ElementsAre(0, 0, 0, 0));
  EXPECT_FALSE(session.ended());
}

TEST_F(SessionTest, AWrongPasswordEndsWithAReason) {
  wanted_auth = VncAuth::Vnc;
  session.start();
  say_text("RFB 003.008\n");
  say({2});
  sent.clear();
  say(std::vector<u8>(16, 1));
  const std::vector<int> answer = heard();
  ASSERT_GT(answer.size(), 8u);
  EXPECT_EQ(answer[3], 1);
  EXPECT_TRUE(session.ended());
}

// FIPS 46 example: key 0123456789ABCDEF, "Now is t" becomes 3FA40E8A984D4815. VNC reverses the bits
// of the key's bytes.
TEST(VncResponse, IsDesWithReversedKeyBits) {
  const char key[] = {'\x80', '\xc4', '\xa2', '\xe6', '\x91', '\xd5', '\xb3', '\xf7', 0};
  const auto answer = vnc_response(key, bytes_of(std::string_view("Now is tNow is t")));
  EXPECT_EQ(load_be<u64>(answer), 0x3fa40e8a984d4815u);
  EXPECT_EQ(load_be<u64>(answer, 8), 0x3fa40e8a984d4815u);
}

TEST_F(SessionTest, VencryptStartsTls) {
  wanted_tls = VncTls::X509;
  session.start();
  sent.clear();
  say_text("RFB 003.008\n");
  EXPECT_THAT(heard(), testing::ElementsAre(1, 19));
  say({19});
  EXPECT_THAT(heard(), testing::ElementsAre(0, 2));
  say({0, 2});
  EXPECT_THAT(heard(), testing::ElementsAre(0, 1, 0, 0, 1, 4));  // 260: X509None
  say({0, 0, 1, 4});
  EXPECT_THAT(heard(), testing::ElementsAre(1));
  EXPECT_TRUE(tls_started);
  EXPECT_EQ(say({1, 2, 3}), 0u);  // TLS's bytes, not ours
  input_bytes.clear();
  session.tls_ready();
  EXPECT_THAT(heard(), testing::ElementsAre(0, 0, 0, 0));
}

TEST_F(SessionTest, UpdatesComeWhenAskedAndOnlyThen) {
  come_in();
  update();
  EXPECT_TRUE(heard().empty());
  say({3, 0, 0, 0, 0, 0, 0, 100, 0, 50});
  update();
  const std::vector<int> first = heard();
  ASSERT_EQ(first.size(), 4u + 12 + 100 * 50 * 4);  // one raw rectangle
  EXPECT_THAT(std::vector(first.begin(), first.begin() + 4), testing::ElementsAre(0, 0, 0, 1));
  say({3, 1, 0, 0, 0, 0, 0, 100, 0, 50});
  update();
  EXPECT_TRUE(heard().empty());
  session.changed({70, 20, 1, 1});
  update();
  EXPECT_EQ(heard().size(), 4u + 12 + 36 * 16 * 4);  // the tile at 64, 16, cut to the screen
}

TEST_F(SessionTest, ASlowClientGetsNoFurtherUpdate) {
  come_in();
  say({3, 0, 0, 0, 0, 0, 0, 100, 0, 50});
  held = 1;
  update();
  EXPECT_TRUE(heard().empty());
  held = 0;
  update();
  EXPECT_FALSE(heard().empty());
}

TEST_F(SessionTest, ANewSizeIsToldToWhoUnderstandsIt) {
  come_in();
  say({2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21});  // raw, DesktopSize
  say({3, 1, 0, 0, 0, 0, 0, 200, 0, 200});
  screen.width = 64;
  screen_display.refresh();
  session.resized();
  update();
  const std::vector<int> bytes = heard();
  ASSERT_GT(bytes.size(), 16u);
  EXPECT_EQ(bytes[3], 2);   // two rectangles
  EXPECT_EQ(bytes[9], 64);  // the first says the size
  EXPECT_EQ(bytes[15], 0x21);
}

TEST_F(SessionTest, KeysAreTypedAsTheLayoutNeeds) {
  come_in();
  say({4, 1, 0, 0, 0, 0, 0, 'a', 4, 0, 0, 0, 0, 0, 0, 'a'});
  EXPECT_EQ(std::exchange(typist.log, {}), "+a -a ");
  say({4, 1, 0, 0, 0, 0, 0, 'A', 4, 0, 0, 0, 0, 0, 0, 'A'});
  EXPECT_EQ(std::exchange(typist.log, {}), "+shift +a -shift -a ");
  // Shift held by the client itself.
  say({4, 1, 0, 0, 0, 0, 0xff, 0xe1, 4, 1, 0, 0, 0, 0, 0, 'A'});
  EXPECT_EQ(std::exchange(typist.log, {}), "+shift +a ");
}

TEST_F(SessionTest, ExtendedKeysAreScanCodes) {
  come_in();
  say({255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x1c});
  say({255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x9c});
  EXPECT_EQ(typist.log, "+ret -kp_enter ");
}

TEST_F(SessionTest, PointersOfEitherKind) {
  come_in();
  say({5, 0, 0, 10, 0, 10, 5, 1, 0, 13, 0, 8});
  EXPECT_EQ(std::exchange(typist.log, {}), "move 3,-2 +b0 ");
  say({5, 9, 0, 13, 0, 8});
  EXPECT_EQ(std::exchange(typist.log, {}), "move 0,0 wheel 1 ");
  typist.tablet = true;
  say({5, 0, 0, 99, 0, 0});
  EXPECT_EQ(std::exchange(typist.log, {}), "at 32767,0 -b0 ");
}

TEST_F(SessionTest, KeysOfAClientThatGoesAreReleased) {
  {
    RfbSession other(*this, *this);
    const std::string all = std::string("RFB 003.008\n\1\1") + std::string("\4\1\0\0\0\0\0a", 8);
    EXPECT_EQ(other.receive(bytes_of(all)), all.size());
    typist.log.clear();
  }
  EXPECT_EQ(typist.log, "-a ");
}

TEST_F(SessionTest, ClipboardsAreSkippedHoweverTheyCome) {
  come_in();
  say({6, 0, 0, 0, 0, 0, 0, 3, 'x'});
  say({'y', 'z', 255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x1e});
  EXPECT_EQ(typist.log, "+a ");
  say({6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x', 6, 0, 0, 0, 0x7f, 0, 0, 0});
  EXPECT_TRUE(session.ended());
}

TEST_F(SessionTest, FencesAreAnswered) {
  come_in();
  say({248, 0, 0, 0, 0x80, 0, 0, 1, 2, 'h', 'i'});
  EXPECT_THAT(heard(), testing::ElementsAre(248, 0, 0, 0, 0, 0, 0, 1, 2, 'h', 'i'));
}

// Whatever bytes come, the session survives and uses no more than it was given.
TEST_F(SessionTest, NoiseIsSurvived) {
  std::mt19937 random_bytes(1);
  for (int round = 0; round < 300; round++) {
    RfbSession noisy(*this, *this);
    const std::string hello = "RFB 003.008\n\1\1";
    noisy.receive(bytes_of(hello));
    std::vector<std::byte> bytes(400);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random_bytes() % (round % 2 ? 256 : 9));
    EXPECT_LE(noisy.receive(bytes), bytes.size());
    noisy.update();
    if (finished) std::exchange(finished, {})();
  }
}

}  // namespace
}  // namespace menura
