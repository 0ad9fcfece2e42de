#include <gtest/gtest.h>

#include "hw/core/test_machine.h"
#include "hw/isa/debug_ports.h"
#include "hw/isa/pvpanic.h"
#include "hw/isa/system_ports.h"

namespace menura {
namespace {

struct Sink final : Chardev {
  size_t write(ConstBytes bytes) override {
    const size_t n = std::min(bytes.size(), capacity);
    text.append(reinterpret_cast<const char*>(bytes.data()), n);
    capacity -= n;
    return n;
  }
  void attach(CharSink* s) override { sink = s; }
  void accept_input() override {}
  std::string text;
  size_t capacity = 1'000'000;
  CharSink* sink = nullptr;
};

TEST(DebugConsoleTest, WritesInOrderThroughBackPressure) {
  TestMachine m;
  Sink sink;
  DebugConsole debugcon("debugcon", 0xe9, sink);
  m.io_root.map(0x402, debugcon.ports());
  EXPECT_EQ(m.in8(0x402), 0xe9);
  sink.capacity = 2;
  for (const char c : std::string("hello")) m.out8(0x402, static_cast<u8>(c));
  EXPECT_EQ(sink.text, "he");
  sink.capacity = 100;
  debugcon.writable();
  EXPECT_EQ(sink.text, "hello");
}

TEST(DebugConsoleTest, AFullLineNeverGrowsWithoutBound) {
  TestMachine m;
  Sink sink;
  sink.capacity = 0;
  DebugConsole debugcon("debugcon", 0xe9, sink);
  m.io_root.map(0xe9, debugcon.ports());
  for (int i = 0; i < 200'000; i++) m.out8(0xe9, 'x');
  sink.capacity = 1'000'000;
  debugcon.writable();
  EXPECT_LE(sink.text.size(), 65536u);
}

TEST(PvpanicTest, TellsWhatItUnderstands) {
  TestMachine m;
  std::vector<PanicEvent> told;
  IsaPvpanic all("all", kAllPanicEvents, [&](PanicEvent e) { told.push_back(e); });
  IsaPvpanic panics("panics", 1, [&](PanicEvent e) { told.push_back(e); });
  m.io_root.map(0x505, all.ports());
  m.io_root.map(0x506, panics.ports());
  EXPECT_EQ(m.in8(0x505), 3u);
  EXPECT_EQ(m.in8(0x506), 1u);
  m.out8(0x505, 0xfc);
  m.out8(0x506, 2);
  EXPECT_TRUE(told.empty());
  m.out8(0x505, 2);
  m.out8(0x506, 1);
  EXPECT_EQ(told, (std::vector{PanicEvent::CrashLoaded, PanicEvent::Panicked}));
}

TEST(DebugExitTest, StatusIsOddAndCarriesTheValue) {
  TestMachine m;
  int status = -1;
  DebugExit exit("exit", 4, [&](int s) { status = s; });
  m.io_root.map(0xf4, exit.ports());
  EXPECT_EQ(m.in32(0xf4), 0u);
  m.out32(0xf4, 0x10);
  EXPECT_EQ(status, 0x21);
  m.out8(0xf4, 0);
  EXPECT_EQ(status, 1);
}

struct SystemPortsTest : testing::Test {
  SystemPortsTest() {
    m.io_root.map(0x61, ports.port61());
    m.io_root.map(0x80, ports.port80());
    m.io_root.map(0x92, ports.port92());
    ports.reset(ResetKind::PowerOn);
  }
  SystemPorts::Wires wires() {
    return {.set_gate2 = [this](bool on) { gate2 = on; },
            .out2 = [this] { return out2; },
            .set_speaker = [this](bool on) { speaker = on; },
            .set_a20 = [this](bool on) { a20 = on; },
            .reset = [this] { resets++; }};
  }
  TestMachine m;
  bool gate2 = true, out2 = false, speaker = true, a20 = false;
  int resets = 0;
  SystemPorts ports{"ports", m.time, wires()};
};

TEST_F(SystemPortsTest, Port61DrivesTimerAndSpeaker) {
  EXPECT_FALSE(gate2);
  m.out8(0x61, 0xff);
  EXPECT_TRUE(gate2);
  EXPECT_TRUE(speaker);
  EXPECT_EQ(m.in8(0x61) & 0xcf, 0x0f) << "the status bits are not written";
  out2 = true;
  EXPECT_EQ(m.in8(0x61) & 0x20, 0x20);
}

TEST_F(SystemPortsTest, RefreshBitToggles) {
  const u8 before = m.in8(0x61) & 0x10;
  m.step_ns(15'085);
  EXPECT_NE(m.in8(0x61) & 0x10, before);
  m.step_ns(15'085);
  EXPECT_EQ(m.in8(0x61) & 0x10, before);
}

TEST_F(SystemPortsTest, Port92) {
  EXPECT_TRUE(a20);
  m.out8(0x92, 0x00);
  EXPECT_FALSE(a20);
  EXPECT_EQ(resets, 0);
  m.out8(0x92, 0x03);
  EXPECT_TRUE(a20);
  EXPECT_EQ(resets, 1);
}

TEST_F(SystemPortsTest, PostCodeAndRoundTrip) {
  m.out8(0x80, 0x55);
  EXPECT_EQ(ports.post_code(), 0x55);
  m.out8(0x61, 0x03);
  m.out8(0x92, 0x00);
  SystemPorts twin("ports", m.time, wires());
  EXPECT_EQ(TestMachine::round_trip(ports, twin), std::vector<std::string>{});
  EXPECT_FALSE(a20) << "the gate is driven again";
}

}  // namespace
}  // namespace menura
