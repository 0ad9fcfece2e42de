#include "hw/serial/uart16550.h"

#include <gtest/gtest.h>

#include <string>

#include "base/units.h"
#include "hw/core/test_machine.h"
#include "state/tree.h"

namespace menura {
namespace {

// A line that takes `capacity` bytes at a time and remembers them.
class TestLine final : public Chardev {
 public:
  size_t write(ConstBytes bytes) override {
    const size_t n = std::min(bytes.size(), capacity);
    sent.append(reinterpret_cast<const char*>(bytes.data()), n);
    capacity -= n;
    return n;
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override { accepts++; }
  void type(std::string_view text) {
    for (const char c : text)
      if (sink->room() > 0) sink->receive(bytes_of(std::string_view(&c, 1)));
  }

  std::string sent;
  size_t capacity = 1'000'000;
  unsigned accepts = 0;
  CharSink* sink = nullptr;
};

struct SerialTest : testing::Test {
  SerialTest() { m.io_root.map(0x3f8, uart.ports()); }
  void enable_fifo(u8 trigger_bits = 0xc0) { m.out8(0x3fa, trigger_bits | 0x07); }

  TestMachine m;
  TestLine line;
  Uart16550 uart{"serial0", m.time, m.pin(4), &line};
};

TEST_F(SerialTest, ResetValuesOfTheDataSheet) {
  EXPECT_EQ(m.in8(0x3f9), 0x00);  // IER
  EXPECT_EQ(m.in8(0x3fa), 0x01);  // IIR: none pending
  EXPECT_EQ(m.in8(0x3fb), 0x00);  // LCR
  EXPECT_EQ(m.in8(0x3fc), 0x00);  // MCR
  EXPECT_EQ(m.in8(0x3fd), 0x60);  // LSR: THRE and TEMT
  EXPECT_EQ(m.in8(0x3fe) & 0x0f, 0x00);
}

TEST_F(SerialTest, SendsAndReceives) {
  m.out8(0x3f8, 'H');
  m.out8(0x3f8, 'i');
  EXPECT_EQ(line.sent, "Hi");
  line.type("x");
  EXPECT_EQ(m.in8(0x3fd), 0x61);
  EXPECT_EQ(m.in8(0x3f8), 'x');
  EXPECT_EQ(m.in8(0x3fd), 0x60);
  EXPECT_GE(line.accepts, 1u);
}

TEST_F(SerialTest, DivisorLatchHidesDataRegisters) {
  m.out8(0x3fb, 0x83);
  m.out8(0x3f8, 0x34);
  m.out8(0x3f9, 0x12);
  EXPECT_EQ(m.in8(0x3f8), 0x34);
  EXPECT_EQ(m.in8(0x3f9), 0x12);
  m.out8(0x3fb, 0x03);
  EXPECT_EQ(m.in8(0x3f9), 0x00);
  EXPECT_TRUE(line.sent.empty());
}

TEST_F(SerialTest, ThreInterruptComesAndIsAcknowledgedByIir) {
  m.out8(0x3fc, 0x08);
  m.out8(0x3f9, 0x02);
  EXPECT_TRUE(m.pin_level(4));
  EXPECT_EQ(m.in8(0x3fa), 0x02);
  EXPECT_FALSE(m.pin_level(4));
  EXPECT_EQ(m.in8(0x3fa), 0x01);
  m.out8(0x3f8, 'a');
  EXPECT_TRUE(m.pin_level(4));
}

TEST_F(SerialTest, Out2GatesTheInterrupt) {
  m.out8(0x3f9, 0x02);
  EXPECT_FALSE(m.pin_level(4));
  EXPECT_EQ(m.in8(0x3fa) & 0x0f, 0x02) << "pending nevertheless";
}

TEST_F(SerialTest, InterruptPriorities) {
  m.out8(0x3fc, 0x08);
  m.out8(0x3f9, 0x0f);
  enable_fifo(0x00);
  uart.event(CharEvent::Break);
  EXPECT_EQ(m.in8(0x3fa), 0xc6) << "line status first";
  EXPECT_EQ(m.in8(0x3fd) & 0x1e, 0x10);
  EXPECT_EQ(m.in8(0x3fa), 0xc4) << "then received data";
  m.in8(0x3f8);
  EXPECT_EQ(m.in8(0x3fa), 0xc2) << "then THRE";
  m.out8(0x3fc, 0x1a);  // loopback: CTS, RI and DCD change
  EXPECT_EQ(m.in8(0x3fa) & 0x0f, 0x00) << "then modem status";
  m.in8(0x3fe);
  EXPECT_EQ(m.in8(0x3fa) & 0x0f, 0x01);
}

TEST_F(SerialTest, FifoTriggerAndTimeout) {
  m.out8(0x3fb, 0x03);
  m.out8(0x3fc, 0x08);
  m.out8(0x3f9, 0x01);
  enable_fifo();
  line.type("0123456789abc");
  EXPECT_FALSE(m.pin_level(4)) << "13 of 14";
  // Four characters of 10 bits at 9600 baud.
  m.step_ns(4 * 10 * kNsPerSecond / 9600 + 1000);
  EXPECT_EQ(m.in8(0x3fa), 0xcc);
  EXPECT_TRUE(m.pin_level(4));
  m.in8(0x3f8);
  EXPECT_FALSE(m.pin_level(4));
  line.type("de");
  EXPECT_EQ(m.in8(0x3fa), 0xc4) << "the trigger level";
}

TEST_F(SerialTest, FifoHoldsSixteenAndSenderSeesNoRoom) {
  enable_fifo();
  line.type("0123456789abcdefXYZ");
  std::string got;
  while (m.in8(0x3fd) & 1) got += static_cast<char>(m.in8(0x3f8));
  EXPECT_EQ(got, "0123456789abcdef");
  EXPECT_EQ(m.in8(0x3fd) & 0x02, 0) << "nothing was pushed past room(), so no overrun";
}

TEST_F(SerialTest, OverrunInLoopback) {
  m.out8(0x3fc, 0x10);
  m.out8(0x3f8, 'a');
  m.out8(0x3f8, 'b');
  EXPECT_EQ(m.in8(0x3fd) & 0x03, 0x03);
  EXPECT_EQ(m.in8(0x3f8), 'b') << "without FIFO the holding register is overwritten";
  EXPECT_TRUE(line.sent.empty());
}

TEST_F(SerialTest, LoopbackCrossesModemLines) {
  const u8 expected[16] = {0x00, 0x20, 0x10, 0x30, 0x40, 0x60, 0x50, 0x70,
                           0x80, 0xa0, 0x90, 0xb0, 0xc0, 0xe0, 0xd0, 0xf0};
  for (u8 mcr = 0; mcr < 16; mcr++) {
    m.out8(0x3fc, 0x10 | mcr);
    EXPECT_EQ(m.in8(0x3fe) & 0xf0, expected[mcr]) << "MCR " << int{mcr};
  }
}

TEST_F(SerialTest, BackPressureLosesNothing) {
  enable_fifo();
  line.capacity = 3;
  m.out8(0x3fc, 0x08);
  m.out8(0x3f9, 0x02);
  for (const char c : std::string("0123456789")) m.out8(0x3f8, static_cast<u8>(c));
  EXPECT_EQ(line.sent, "012");
  EXPECT_EQ(m.in8(0x3fd) & 0x60, 0) << "the guest sees the transmitter busy";
  EXPECT_FALSE(m.pin_level(4));
  line.capacity = 100;
  uart.writable();
  EXPECT_EQ(line.sent, "0123456789");
  EXPECT_EQ(m.in8(0x3fd) & 0x60, 0x60);
  EXPECT_TRUE(m.pin_level(4));
}

TEST_F(SerialTest, RoundTripInMidWork) {
  enable_fifo();
  m.out8(0x3fc, 0x08);
  m.out8(0x3f9, 0x0f);
  line.type("abc");
  line.capacity = 0;
  m.out8(0x3f8, 'z');
  m.step_ns(1000);
  TestMachine other;
  TestLine other_line;
  Uart16550 twin("serial0", other.time, other.pin(4), &other_line);
  EXPECT_EQ(TestMachine::round_trip(uart, twin), std::vector<std::string>{});
}

TEST_F(SerialTest, RefusesAStateWithAnOverfullFifo) {
  StateTree saved = save_state(uart);
  for (StateTree& child : saved.children)
    if (child.name == "tx") child.bytes.resize(17);
  TestMachine other;
  Uart16550 twin("serial0", other.time, other.pin(4), nullptr);
  ASSERT_TRUE(load_state(twin, saved));
  EXPECT_FALSE(twin.restored());
}

TEST_F(SerialTest, WithNothingConnected) {
  TestMachine other;
  Uart16550 lonely("serial1", other.time, other.pin(3), nullptr);
  other.io_root.map(0x2f8, lonely.ports());
  for (int i = 0; i < 40; i++) other.out8(0x2f8, 'x');
  EXPECT_EQ(other.in8(0x2fd), 0x60);
  EXPECT_EQ(other.in8(0x2fe), 0);
}

}  // namespace
}  // namespace menura
