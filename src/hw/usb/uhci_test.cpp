#include "hw/usb/uhci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "hw/core/test_machine.h"
#include "hw/pci/pci_bus.h"
#include "hw/usb/usb_hid.h"
#include "state/tree.h"

namespace menura {
namespace {

constexpr u16 kBase = 0xc000;
constexpr u32 kFrames = 0x10000, kQueueHead = 0x20000, kTransfers = 0x21000, kData = 0x30000;
constexpr u8 kIn = 0x69, kOut = 0xe1, kSetup = 0x2d;

// A driver of the controller, as small as it can be: one queue for every frame.
struct UhciTest : testing::Test {
  UhciTest() {
    bus.add(usb, PciBus::devfn(1, 2)).value();
    usb.ports().plug(tablet).value();
    usb.reset(ResetKind::PowerOn);
    tablet.reset(ResetKind::PowerOn);
    usb.config_write(0x20, 4, kBase);
    usb.config_write(0x04, 2, 0x0005);
    for (u32 i = 0; i < 1024; i++) m.write_mem(kFrames + 4 * i, 4, kQueueHead | 2);
    m.write_mem(kQueueHead, 4, 1);
    m.write_mem(kQueueHead + 4, 4, 1);
    m.out32(kBase + 8, kFrames);
    m.clock.start();
  }
  void enable_port() {
    m.out16(kBase + 0x10, 0x0200);
    m.out16(kBase + 0x10, 0x0000);
    m.out16(kBase + 0x10, 0x000e);
  }
  void start() { m.out16(kBase, 0x0001); }
  void frame() {
    m.tape.advance(1'000'000);
    m.time.run_expired();
  }
  struct Td {
    u8 pid;
    u32 length;
    u8 toggle;
    u32 at;
  };
  // Runs them in a row; the status words they end with.
  std::vector<u32> run(const std::vector<Td>& tds, u8 address, u8 endpoint = 0, int frames = 4) {
    for (size_t i = 0; i < tds.size(); i++) {
      const u32 at = kTransfers + 32 * static_cast<u32>(i);
      m.write_mem(at, 4, i + 1 < tds.size() ? (at + 32) | 4 : 1);
      m.write_mem(at + 4, 4, 1u << 23 | 3u << 27 | (i + 1 == tds.size() ? 1u << 24 : 0));
      m.write_mem(at + 8, 4,
                  ((tds[i].length - 1) & 0x7ff) << 21 | u32{tds[i].toggle} << 19 |
                      u32{endpoint} << 15 | u32{address} << 8 | tds[i].pid);
      m.write_mem(at + 12, 4, tds[i].at);
    }
    m.write_mem(kQueueHead + 4, 4, kTransfers);
    for (int i = 0; i < frames; i++) frame();
    std::vector<u32> words;
    for (size_t i = 0; i < tds.size(); i++)
      words.push_back(static_cast<u32>(m.read_mem(kTransfers + 32 * i + 4, 4)));
    return words;
  }
  void put_setup(std::array<u8, 8> bytes) {
    for (size_t i = 0; i < 8; i++) m.write_mem(kData + i, 1, bytes[i]);
  }
  void configure() {
    enable_port();
    start();
    put_setup({0x00, 5, 7, 0, 0, 0, 0, 0});
    run({{kSetup, 8, 0, kData}, {kIn, 0, 1, 0}}, 0);
    put_setup({0x00, 9, 1, 0, 0, 0, 0, 0});
    run({{kSetup, 8, 0, kData}, {kIn, 0, 1, 0}}, 7);
  }
  static u32 length_of(u32 word) { return ((word & 0x7ff) + 1) & 0x7ff; }

  TestMachine m;
  PciBus bus{"pci.0", {m.memory, m.io, m.memory_root, m.io_root}};
  Inputs inputs{m.tape};
  UsbHid tablet{"tablet", UsbHid::Kind::Tablet, inputs};
  Uhci usb{"usb", m.time};
};

TEST_F(UhciTest, ResetValues) {
  EXPECT_EQ(m.in16(kBase), 0u);
  EXPECT_EQ(m.in16(kBase + 2), 0x20u);
  EXPECT_EQ(m.in8(kBase + 0x0c), 0x40u);
  EXPECT_EQ(m.in16(kBase + 0x10) & 0x81, 0x81u);
  EXPECT_EQ(m.in16(kBase + 0x12) & 0x81, 0x80u);
  EXPECT_EQ(usb.config_read(0x60, 1), 0x10u);
  EXPECT_EQ(usb.config_read(0x08, 4) >> 8, 0x0c0300u);
}

TEST_F(UhciTest, FramesCountWhileRunning) {
  frame();
  EXPECT_EQ(m.in16(kBase + 6), 0u);
  start();
  for (int i = 0; i < 5; i++) frame();
  EXPECT_EQ(m.in16(kBase + 6), 5u);
  m.out16(kBase, 0);
  EXPECT_TRUE(m.in16(kBase + 2) & 0x20);
}

TEST_F(UhciTest, ADescriptorComesInPacketsOfEight) {
  enable_port();
  start();
  m.out16(kBase + 4, 0x4);
  put_setup({0x80, 6, 0, 1, 0, 0, 18, 0});
  const std::vector<u32> words = run({{kSetup, 8, 0, kData},
                                      {kIn, 8, 1, kData + 0x100},
                                      {kIn, 8, 0, kData + 0x108},
                                      {kIn, 8, 1, kData + 0x110},
                                      {kOut, 0, 1, 0}},
                                     0);
  EXPECT_EQ(length_of(words[1]), 8u);
  EXPECT_EQ(length_of(words[3]), 2u);
  for (const u32 word : words) EXPECT_EQ(word & 0x00ff'0000, 0u);
  EXPECT_EQ(m.read_mem(kData + 0x100, 2), 0x0112u);
  EXPECT_EQ(m.read_mem(kData + 0x108, 2), 0x0627u);
  EXPECT_TRUE(m.in16(kBase + 2) & 1);
  EXPECT_TRUE(usb.config_read(6, 2) & 8);  // INTx
  m.out16(kBase + 2, 1);
  EXPECT_FALSE(usb.config_read(6, 2) & 8);
}

TEST_F(UhciTest, AnAddressHoldsFromTheStatusStageOn) {
  configure();
  EXPECT_EQ(tablet.address(), 7);
  EXPECT_TRUE(inputs.absolute());
}

TEST_F(UhciTest, TheTabletSaysWhereItIs) {
  configure();
  // Nothing new: NAK, and the descriptor stays active.
  EXPECT_EQ(run({{kIn, 8, 0, kData}}, 7, 1)[0] & 0x0088'0000, 0x0088'0000u);
  inputs.move_to(0x1234, 0x7fff);
  inputs.button(PointerButton::Right, true);
  const std::vector<u32> words = run({{kIn, 8, 0, kData}}, 7, 1);
  EXPECT_EQ(length_of(words[0]), 6u);
  EXPECT_EQ(m.read_mem(kData, 4), 0xff123402u);
  EXPECT_EQ(m.read_mem(kData + 4, 2), 0x007fu);
}

TEST_F(UhciTest, NobodyAtAnAddressIsAnError) {
  enable_port();
  start();
  const std::vector<u32> words = run({{kIn, 8, 0, kData}}, 55);
  EXPECT_EQ(words[0] & 0x0084'0000, 0x0004'0000u);
  EXPECT_TRUE(m.in16(kBase + 2) & 2);
}

TEST_F(UhciTest, AnUnknownRequestStalls) {
  enable_port();
  start();
  put_setup({0xc0, 0x77, 0, 0, 0, 0, 8, 0});
  const std::vector<u32> words = run({{kSetup, 8, 0, kData}, {kIn, 8, 1, kData}}, 0);
  EXPECT_EQ(words[1] & 0x00c0'0000, 0x0040'0000u);
}

TEST_F(UhciTest, SchedulesThatRunInCirclesEnd) {
  start();
  m.write_mem(kQueueHead, 4, kQueueHead | 2);
  frame();
  m.write_mem(kTransfers, 4, kTransfers);
  m.write_mem(kTransfers + 4, 4, 0);
  for (u32 i = 0; i < 1024; i++) m.write_mem(kFrames + 4 * i, 4, kTransfers);
  frame();
  EXPECT_EQ(m.in16(kBase + 6), 2u);
}

TEST_F(UhciTest, AScheduleOutsideOfRamStopsIt) {
  start();
  m.out32(kBase + 8, 0xf000'0000);
  frame();
  EXPECT_EQ(m.in16(kBase + 2) & 0x28, 0x28u);
  EXPECT_FALSE(m.in16(kBase) & 1);
}

TEST_F(UhciTest, PullingTheTabletOutIsSeen) {
  enable_port();
  start();
  usb.ports().unplug(tablet);
  EXPECT_EQ(m.in16(kBase + 0x10) & 0x0f, 0x02u);
}

TEST(UsbHid, AKeyboardReportsEveryChangeInOrder) {
  ScriptedTape tape;
  Inputs inputs(tape);
  UsbHid keyboard("kbd", UsbHid::Kind::Keyboard, inputs);
  keyboard.reset(ResetKind::PowerOn);
  EXPECT_FALSE(inputs.has_keyboard());
  const std::array<u8, 8> configure{0x00, 9, 1, 0, 0, 0, 0, 0};
  keyboard.setup(bytes_of(configure));
  EXPECT_EQ(keyboard.in(0, {}).status, UsbStatus::Ack);
  inputs.key(Key::Shift, true);
  inputs.key(Key::A, true);
  inputs.key(Key::A, false);
  std::array<std::byte, 8> report;
  const auto next = [&] {
    EXPECT_EQ(keyboard.in(1, report).length, 8u);
    return load_le<u64>(report);
  };
  EXPECT_EQ(next(), 0x02u);
  EXPECT_EQ(next(), 0x040002u);
  EXPECT_EQ(next(), 0x02u);
  EXPECT_EQ(keyboard.in(1, report).status, UsbStatus::Nak);
  // Lights: SET_REPORT.
  const std::array<u8, 8> lights{0x21, 9, 0, 2, 0, 0, 1, 0};
  keyboard.setup(bytes_of(lights));
  keyboard.out(0, bytes_of(std::array<u8, 1>{2}));
  EXPECT_TRUE(inputs.leds().caps);
}

TEST(UsbHid, StateMovesToATwin) {
  TestMachine m;
  Inputs inputs(m.tape);
  UsbHid one("mouse", UsbHid::Kind::Mouse, inputs), two("mouse", UsbHid::Kind::Mouse, inputs);
  one.reset(ResetKind::PowerOn);
  two.reset(ResetKind::PowerOn);
  one.setup(bytes_of(std::array<u8, 8>{0x00, 9, 1, 0, 0, 0, 0, 0}));
  inputs.move(500, -3);
  EXPECT_THAT(TestMachine::round_trip(one, two), testing::IsEmpty());
}

// Each packet would have been taken, for ever.
TEST(UsbHid, RefusesAStateThatHoldsMoreDataThanAnnounced) {
  TestMachine m;
  Inputs inputs(m.tape);
  UsbHid keyboard("keyboard", UsbHid::Kind::Keyboard, inputs);
  keyboard.reset(ResetKind::PowerOn);
  keyboard.setup(bytes_of(std::array<u8, 8>{0x21, 9, 0, 2, 0, 0, 8, 0}));
  keyboard.out(0, bytes_of(std::array<u8, 4>{}));
  StateTree state = save_state(keyboard, {}, keyboard.state_version());
  EXPECT_TRUE(load_state(keyboard, state).ok() && keyboard.restored().ok());
  const auto child = [](StateTree& tree, std::string_view name) -> StateTree& {
    return *std::ranges::find(tree.children, name, &StateTree::name);
  };
  child(child(state, "request"), "length").integer = 4;
  EXPECT_FALSE(load_state(keyboard, state).ok() && keyboard.restored().ok());
}

}  // namespace
}  // namespace menura
