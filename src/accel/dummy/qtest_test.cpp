#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "accel/dummy/qtest_double.h"

namespace menura {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Qtest, Endianness) {
  QtestDouble q;
  EXPECT_EQ(q.ask("endianness"), "OK little");
}

TEST(Qtest, PortsOfEverySize) {
  QtestDouble q;
  EXPECT_EQ(q.ask("outb 0x70 0x1ff"), "OK");
  EXPECT_EQ(q.last_write, 0xffu);
  EXPECT_EQ(q.ask("outw 112 0x1234"), "OK");
  EXPECT_EQ(q.last_size, 2u);
  EXPECT_EQ(q.ask("outl 0160 0xdeadbeef"), "OK") << "a leading 0 means octal";
  EXPECT_EQ(q.ask("inb 0x70"), "OK 0x00ef");
  EXPECT_EQ(q.ask("inw 0x70"), "OK 0xbeef");
  EXPECT_EQ(q.ask("inl 0x70"), "OK 0xdeadbeef");
  EXPECT_EQ(q.ask("inb 0x80"), "OK 0x00ff") << "nothing answers there";
  EXPECT_THAT(q.ask("inb 0x10000"), StartsWith("ERR "));
}

TEST(Qtest, MemoryOfEverySize) {
  QtestDouble q;
  EXPECT_EQ(q.ask("writeq 0x1000 0x1122334455667788"), "OK");
  EXPECT_EQ(q.ask("readb 0x1000"), "OK 0x0000000000000088");
  EXPECT_EQ(q.ask("readw 0x1000"), "OK 0x0000000000007788");
  EXPECT_EQ(q.ask("readl 0x1000"), "OK 0x0000000055667788");
  EXPECT_EQ(q.ask("readq 0x1000"), "OK 0x1122334455667788");
  EXPECT_EQ(q.ask("writel 0x1001 0xffffffffaabbccdd"), "OK");
  EXPECT_EQ(q.machine.ram->load<u32>(0x1001), 0xaabbccddu);
  EXPECT_EQ(q.ask("writeq 0xfe000000 7"), "OK");
  EXPECT_EQ(q.last_size, 8u);
}

TEST(Qtest, BlocksInHexAndBase64) {
  QtestDouble q;
  EXPECT_EQ(q.ask("write 0x100 4 0x01020aFF"), "OK");
  EXPECT_EQ(q.ask("read 0x100 5"), "OK 0x01020aff00");
  EXPECT_EQ(q.ask("memset 0x100 8 0xcc"), "OK");
  EXPECT_EQ(q.ask("write 0x100 4 0x11"), "OK") << "short: filled with zeros";
  EXPECT_EQ(q.ask("read 0x100 6"), "OK 0x11000000cccc");
  EXPECT_EQ(q.ask("b64write 0x200 6 Zm9vYmFy"), "OK");
  EXPECT_EQ(q.ask("b64read 0x200 6"), "OK Zm9vYmFy");
  EXPECT_EQ(q.ask("b64write 0x200 2 YWJj"), "OK") << "the shorter wins";
  EXPECT_EQ(q.ask("read 0x200 3"), "OK 0x61626f");
  EXPECT_EQ(q.ask("memset 0x100 0 1"), "OK");
  EXPECT_EQ(q.ask("write 0x100 4 0x"), "ERR invalid argument size");
  EXPECT_THAT(q.ask("write 0x100 4 0xgg"), StartsWith("ERR "));
  EXPECT_THAT(q.ask("read 0x100 0"), StartsWith("ERR "));
  EXPECT_THAT(q.ask("read 0x100 0xffffffffffff"), StartsWith("ERR "));
  EXPECT_THAT(q.ask("b64write 0x100 4 !!!!"), StartsWith("ERR "));
}

TEST(Qtest, TheClockMovesByHandAndRunsTimersOnTheWay) {
  QtestDouble q;
  EXPECT_EQ(q.ask("clock_step 100"), "OK 100");
  EXPECT_EQ(q.ask("clock_step"), "FAIL 100") << "no timer is armed";
  EXPECT_EQ(q.ask("irq_intercept_in pic"), "OK");
  q.ask("outl 0x70 1000");
  EXPECT_EQ(q.ask("clock_step 999"), "OK 1099");
  EXPECT_EQ(q.ask("clock_step"), "IRQ raise 2\nOK 1100") << "the timer has run before the reply";
  EXPECT_EQ(q.ask("clock_set 5000"), "OK 5000");
  EXPECT_EQ(q.ask("clock_set 4000"), "FAIL 5000") << "time does not go back";
  EXPECT_EQ(q.ask("clock_step 0"), "OK 5000");
  q.running = false;
  EXPECT_EQ(q.ask("clock_step 10"), "FAIL 5000");
  EXPECT_THAT(q.ask("clock_step 0x7fffffffffffffff"), StartsWith("ERR "));
  EXPECT_THAT(q.ask("clock_set 0xffffffffffffffff"), StartsWith("ERR "));
}

TEST(Qtest, ARunningGuestHasItsOwnClock) {
  QtestDouble q(false);
  EXPECT_EQ(q.ask("clock_step 1"), "FAIL Unknown command 'clock_step'");
  EXPECT_EQ(q.ask("clock_set 1"), "FAIL Unknown command 'clock_set'");
  EXPECT_EQ(q.ask("inb 0x80"), "OK 0x00ff");
}

TEST(Qtest, PinsAreWatchedAndDriven) {
  QtestDouble q;
  EXPECT_EQ(q.ask("set_irq_in pic unnamed-gpio-in 1 1"), "OK");
  EXPECT_EQ(q.pins.last, "1=true");
  EXPECT_EQ(q.ask("irq_intercept_out pic intr"), "OK");
  EXPECT_EQ(q.ask("irq_intercept_in /machine/pic"), "OK") << "the same device again";
  EXPECT_EQ(q.ask("irq_intercept_in rtc"), "FAIL IRQ intercept already enabled");
  EXPECT_EQ(q.ask("set_irq_in pic unnamed-gpio-in 3 1"), "IRQ raise 3\nOK");
  EXPECT_EQ(q.ask("set_irq_in pic unnamed-gpio-in 3 1"), "OK") << "no change, no line";
  EXPECT_EQ(q.ask("set_irq_in pic unnamed-gpio-in 3 0"), "IRQ lower 3\nOK");
  EXPECT_THAT(q.ask("set_irq_in pic unnamed-gpio-in 4 1"), StartsWith("ERR "));
  EXPECT_THAT(q.ask("set_irq_in pic nmi 0 1"), StartsWith("ERR "));
}

TEST(Qtest, InterceptionEndsWithTheServer) {
  QtestDouble q;
  EXPECT_EQ(q.ask("irq_intercept_in moon"), "FAIL Unknown device 'moon'");
  EXPECT_EQ(q.ask("irq_intercept_out pic reset"), "FAIL No outputs of this name");
  RecordingChardev other;
  {
    QtestServer second(other,
                       {q.machine.memory, q.machine.io, q.machine.clock, q.machine.time, q.pins});
    other.deliver("irq_intercept_in pic\n");
    EXPECT_TRUE(q.pins.watched());
  }
  EXPECT_FALSE(q.pins.watched());
  EXPECT_EQ(other.sink(), nullptr);
}

TEST(Qtest, NonsenseIsAnsweredNotObeyed) {
  QtestDouble q;
  for (std::string_view line : {"",
                                " ",
                                "inb",
                                "inb 1 2",
                                "inb x",
                                "inb  0x70",
                                "inb 0x70 ",
                                "outb 0x70",
                                "writeb 0x1g 1",
                                "writeb 0x1ffffffffffffffff 1",
                                "read 1",
                                "INB 0x70",
                                "irq_intercept_",
                                "irq_intercept_in",
                                "irq_intercept_in a b",
                                "set_irq_in pic unnamed-gpio-in 99999999999 1",
                                "memset 0 -1 0",
                                "module_load hw- x",
                                "clock_step soon",
                                "\x01\xff"}) {
    EXPECT_THAT(q.ask(line), testing::AnyOf(StartsWith("ERR "), StartsWith("FAIL "))) << line;
    EXPECT_EQ(std::ranges::count(q.chardev.sent, '\n'), 0);
  }
  EXPECT_LT(q.ask(std::string(10000, 'x')).size(), 200u);
  EXPECT_EQ(q.last_size, 0u) << "something was written";
}

TEST(Qtest, LinesMayComeInPiecesOrMany) {
  QtestDouble q;
  q.chardev.deliver("endianness\r\noutb 0x70 5\ninb 0x70\nin", 3);
  EXPECT_EQ(q.chardev.sent, "OK little\nOK\nOK 0x0005\n");
  q.chardev.deliver("b 0x80\n", 1);
  EXPECT_THAT(q.chardev.sent, testing::EndsWith("OK 0x00ff\n"));
  // What the next client sends does not continue the last one's line.
  q.chardev.deliver("inb 0x");
  q.chardev.sink()->event(CharEvent::Closed);
  q.chardev.sink()->event(CharEvent::Opened);
  EXPECT_EQ(q.ask("endianness"), "OK little");
}

TEST(Qtest, AnEndlessLineIsCut) {
  QtestDouble q;
  const std::string piece(1 << 16, '1');
  q.chardev.deliver("inb 0x");
  for (size_t sent = 0; sent <= QtestServer::kMaxLine; sent += piece.size())
    q.chardev.deliver(piece);
  EXPECT_EQ(q.ask(""), "ERR the line is too long");
  EXPECT_EQ(q.ask("endianness"), "OK little");
}

TEST(Qtest, AClientThatDoesNotReadIsNotRead) {
  QtestDouble q;
  q.chardev.takes = 10;
  std::string requests;
  for (int i = 0; i < 20; i++) requests += "read 0 60000\n";
  q.chardev.deliver(requests, 13);
  EXPECT_EQ(q.chardev.sink()->room(), 0u);
  q.chardev.takes = ~size_t{0};
  q.chardev.sink()->writable();
  EXPECT_EQ(q.chardev.accepts, 1u);
  EXPECT_GT(q.chardev.sink()->room(), 0u);
  EXPECT_GT(q.chardev.sent.size(), 1'000'000u);
}

TEST(Qtest, TheLogHasBothSides) {
  QtestDouble q;
  RecordingChardev chardev;
  std::vector<std::string> log;
  QtestServer server(chardev,
                     {q.machine.memory, q.machine.io, q.machine.clock, q.machine.time, q.pins},
                     [&](std::string_view line) { log.emplace_back(line); });
  chardev.deliver("inb 0x80\n");
  EXPECT_THAT(log, testing::ElementsAre("R inb 0x80", "S OK 0x00ff"));
}

}  // namespace
}  // namespace menura
