#include "chardev/mux.h"

#include <gtest/gtest.h>

#include "chardev/ring.h"
#include "chardev/test_sink.h"
#include "event/tape.h"

namespace menura {
namespace {

struct MuxTest : testing::Test {
  void SetUp() override {
    console.attach(&guest);
    monitor.attach(&operator_sink);
  }
  void type(std::string_view keys) { terminal->feed(text_bytes(keys)); }

  ScriptedTape tape;
  int quits = 0;
  TestSink guest, operator_sink;
  RingChardev* terminal = nullptr;
  Mux mux{[this] {
            auto ring = RingChardev::create(tape, 4096).value();
            terminal = ring.get();
            return ring;
          }(),
          [this] { quits++; }};
  Chardev& console = mux.add_port();
  Chardev& monitor = mux.add_port();
};

TEST_F(MuxTest, KeysGoToTheFocusAndCtrlACMovesIt) {
  EXPECT_EQ(guest.events, (std::vector{CharEvent::Opened, CharEvent::FocusGained}));
  EXPECT_EQ(operator_sink.events, std::vector{CharEvent::Opened});
  type(
      "ls\r\x01"
      "cinfo\r\x01"
      "cpwd");
  EXPECT_EQ(guest.text(), "ls\rpwd");
  EXPECT_EQ(operator_sink.text(), "info\r");
  EXPECT_EQ(operator_sink.events,
            (std::vector{CharEvent::Opened, CharEvent::FocusGained, CharEvent::FocusLost}));
  EXPECT_EQ(mux.focus(), 0u);
}

TEST_F(MuxTest, OutputOfAllPortsGoesThrough) {
  console.write(text_bytes("boot "));
  monitor.write(text_bytes("(menura) "));
  EXPECT_EQ(terminal->read(100), "boot (menura) ");
}

TEST_F(MuxTest, TheOtherEscapes) {
  type(
      "\x01"
      "x");
  EXPECT_EQ(quits, 1);
  type(
      "\x01"
      "b");
  EXPECT_EQ(guest.events.back(), CharEvent::Break);
  type(
      "\x01\x01\x01"
      "a");
  EXPECT_EQ(guest.text(), "\x01\x01");
  type(
      "\x01"
      "zq");
  EXPECT_EQ(guest.text(), "\x01\x01q") << "an unknown command is swallowed";
  type(
      "\x01"
      "h");
  EXPECT_NE(terminal->read(4096).find("Ctrl-A x"), std::string::npos);
  // The escape and its command in two pieces.
  type("\x01");
  type("c");
  EXPECT_EQ(mux.focus(), 1u);
}

// A guest that hangs takes no keys; the way out must still work.
TEST_F(MuxTest, EscapesWorkWhileTheGuestTakesNothing) {
  guest.space = 0;
  type(std::string(1000, 'k'));
  type(
      "\x01"
      "cquit\r\x01"
      "x");
  EXPECT_EQ(operator_sink.text(), "quit\r");
  EXPECT_EQ(quits, 1);
  EXPECT_TRUE(guest.received.empty());
  guest.space = 5000;
  console.accept_input();
  EXPECT_EQ(guest.text(), std::string(1000, 'k'));
}

TEST_F(MuxTest, APasteBeyondTheBufferWaitsAndArrivesWhole) {
  guest.space = 0;
  const std::string paste(200'000, 'p');
  type(paste);
  while (guest.received.size() < paste.size()) {
    guest.space = 100;
    const size_t before = guest.received.size();
    console.accept_input();
    ASSERT_GT(guest.received.size(), before);
  }
  EXPECT_EQ(guest.text(), paste);
}

TEST_F(MuxTest, BytesAreInputBeforeASinkIsAttached) {
  console.attach(nullptr);
  type("early");
  TestSink late;
  console.attach(&late);
  EXPECT_EQ(late.text(), "early");
  EXPECT_EQ(late.events, (std::vector{CharEvent::Opened, CharEvent::FocusGained}));
}

}  // namespace
}  // namespace menura
