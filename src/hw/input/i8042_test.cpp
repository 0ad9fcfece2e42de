#include "hw/input/i8042.h"

#include <gtest/gtest.h>

#include "hw/core/test_machine.h"
#include "hw/input/ps2_keyboard.h"
#include "hw/input/ps2_mouse.h"

namespace menura {
namespace {

struct I8042Test : testing::Test {
  I8042Test() {
    m.io_root.map(0x60, kbc.data_port());
    m.io_root.map(0x64, kbc.command_port());
    kbc.reset(ResetKind::PowerOn);
  }
  std::vector<int> read_all() {
    std::vector<int> bytes;
    while (m.in8(0x64) & 1) bytes.push_back(m.in8(0x60));
    return bytes;
  }
  void to_mouse(u8 byte) {
    m.out8(0x64, 0xd4);
    m.out8(0x60, byte);
  }
  void set_command_byte(u8 value) {
    m.out8(0x64, 0x60);
    m.out8(0x60, value);
  }
  using Bytes8 = std::vector<int>;

  TestMachine m;
  bool a20 = false;
  int resets = 0;
  Ps2Keyboard keyboard{"keyboard"};
  Ps2Mouse mouse{"mouse"};
  I8042 kbc{"i8042",
            keyboard,
            mouse,
            {.irq1 = m.pin(1),
             .irq12 = m.pin(12),
             .set_a20 = [this](bool on) { a20 = on; },
             .reset = [this] { resets++; }}};
};

TEST_F(I8042Test, SelfTestAndPortTests) {
  EXPECT_EQ(m.in8(0x64) & 0x05, 0x00);
  m.out8(0x64, 0xaa);
  EXPECT_EQ(m.in8(0x64) & 0x0d, 0x0d) << "output full, system flag, last write was a command";
  EXPECT_EQ(m.in8(0x60), 0x55);
  m.out8(0x64, 0xab);
  EXPECT_EQ(m.in8(0x60), 0x00);
  m.out8(0x64, 0xa9);
  EXPECT_EQ(m.in8(0x60), 0x00);
}

TEST_F(I8042Test, KeyboardResetIdentifyEcho) {
  set_command_byte(0x00);  // no translation
  m.out8(0x60, 0xff);
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0xaa}));
  m.out8(0x60, 0xf2);
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0xab, 0x83}));
  m.out8(0x60, 0xee);
  EXPECT_EQ(read_all(), (Bytes8{0xee}));
  m.out8(0x60, 0x12);
  EXPECT_EQ(read_all(), (Bytes8{0xfe})) << "unknown commands are sent back";
}

TEST_F(I8042Test, TranslatedIdentifyIsTheATs) {
  m.out8(0x60, 0xf2);
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0xab, 0x41}));
}

// The controller's translation of every key's set 2 codes gives its set 1 codes.
TEST_F(I8042Test, TranslationAgreesWithBothTables) {
  for (size_t i = 0; i < static_cast<size_t>(Key::Print); i++) {
    const Key key = static_cast<Key>(i);
    keyboard.key(key, true);
    keyboard.key(key, false);
    const int code = key_set1(key) & 0xff;
    Bytes8 expected{code, code | 0x80};
    if (key_set1(key) > 0xff) expected = {0xe0, code, 0xe0, code | 0x80};
    EXPECT_EQ(read_all(), expected) << key_name(key);
  }
  keyboard.key(Key::Pause, true);
  EXPECT_EQ(read_all(), (Bytes8{0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5}));
  keyboard.key(Key::Print, true);
  EXPECT_EQ(read_all(), (Bytes8{0xe0, 0x2a, 0xe0, 0x37}));
}

TEST_F(I8042Test, ScanCodeSetOneNeedsNoTranslation) {
  set_command_byte(0x00);
  m.out8(0x60, 0xf0);
  m.out8(0x60, 0x01);
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0xfa}));
  m.out8(0x60, 0xf0);
  m.out8(0x60, 0x00);
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0xfa, 0x01}));
  keyboard.key(Key::A, false);
  EXPECT_EQ(read_all(), (Bytes8{0x9e}));
}

TEST_F(I8042Test, InterruptsFollowTheCommandByte) {
  keyboard.key(Key::A, true);
  EXPECT_TRUE(m.pin_level(1));
  m.in8(0x60);
  EXPECT_FALSE(m.pin_level(1));
  set_command_byte(0x42);
  to_mouse(0xf4);
  EXPECT_TRUE(m.pin_level(12));
  EXPECT_EQ(m.in8(0x64) & 0x21, 0x21);
  EXPECT_EQ(m.in8(0x60), 0xfa);
  EXPECT_FALSE(m.pin_level(12));
  keyboard.key(Key::A, false);
  EXPECT_FALSE(m.pin_level(1)) << "keyboard interrupt is off";
}

TEST_F(I8042Test, EveryByteIsAnEdge) {
  keyboard.key(Key::Up, true);  // two bytes
  const unsigned rises = m.pin_rises(1);
  m.in8(0x60);
  EXPECT_EQ(m.pin_rises(1), rises + 1);
}

TEST_F(I8042Test, A20AndReset) {
  EXPECT_TRUE(a20);
  m.out8(0x64, 0xd1);
  m.out8(0x60, 0xdd);
  EXPECT_FALSE(a20);
  m.out8(0x64, 0xd0);
  EXPECT_EQ(m.in8(0x60) & 0x03, 0x01);
  m.out8(0x64, 0xdf);
  EXPECT_TRUE(a20);
  EXPECT_EQ(resets, 0);
  m.out8(0x64, 0xff);
  EXPECT_EQ(resets, 0) << "no line pulsed";
  m.out8(0x64, 0xfe);
  EXPECT_EQ(resets, 1);
}

TEST_F(I8042Test, DisabledPortsHoldTheirBytes) {
  m.out8(0x64, 0xad);
  keyboard.key(Key::B, true);
  EXPECT_EQ(read_all(), Bytes8{});
  m.out8(0x64, 0xae);
  EXPECT_EQ(read_all(), Bytes8{0x30});
}

TEST_F(I8042Test, ControllerRamAndLoopedBytes) {
  m.out8(0x64, 0x65);
  m.out8(0x60, 0x77);
  m.out8(0x64, 0x25);
  EXPECT_EQ(m.in8(0x60), 0x77);
  m.out8(0x64, 0xd3);
  m.out8(0x60, 0x5a);
  EXPECT_EQ(m.in8(0x64) & 0x21, 0x21) << "as if the mouse had sent it";
  EXPECT_EQ(m.in8(0x60), 0x5a);
}

TEST_F(I8042Test, MousePacketsAndWheelKnock) {
  set_command_byte(0x00);
  to_mouse(0xf4);
  mouse.move(3, 2);
  mouse.sync();
  mouse.button(PointerButton::Left, true);
  mouse.sync();
  EXPECT_EQ(read_all(), (Bytes8{0xfa, 0x28, 3, 0xfe, 0x09, 0, 0}));
  for (const u8 rate : {200, 100, 80}) {
    to_mouse(0xf3);
    to_mouse(rate);
  }
  to_mouse(0xf2);
  read_all();
  mouse.wheel(1, 0);
  mouse.sync();
  EXPECT_EQ(read_all(), (Bytes8{0x09, 0, 0, 0xff}));
}

TEST_F(I8042Test, LargeMovementIsSplit) {
  to_mouse(0xf4);
  read_all();
  mouse.move(300, 0);
  mouse.sync();
  EXPECT_EQ(read_all(), (Bytes8{0x08, 255, 0, 0x08, 45, 0}));
}

TEST_F(I8042Test, AnIdleGuestCannotMakeThemGrow) {
  to_mouse(0xf4);
  for (int i = 0; i < 10'000; i++) {
    keyboard.key(Key::Pause, true);
    mouse.move(1'000'000'000, -1'000'000'000);
    mouse.wheel(7, 0);
    mouse.sync();
  }
  EXPECT_LE(read_all().size(), 2 * Ps2Device::kQueue + 20'000);
  EXPECT_EQ(m.in8(0x64) & 1, 0);
}

TEST_F(I8042Test, RoundTripInMidWork) {
  to_mouse(0xf3);
  keyboard.key(Key::Up, true);
  m.out8(0x64, 0x60);
  TestMachine other;
  Ps2Keyboard keyboard2("keyboard");
  Ps2Mouse mouse2("mouse");
  I8042 kbc2(
      "i8042", keyboard2, mouse2,
      {.irq1 = other.pin(1), .irq12 = other.pin(12), .set_a20 = [](bool) {}, .reset = [] {}});
  EXPECT_EQ(TestMachine::round_trip(keyboard, keyboard2), std::vector<std::string>{});
  EXPECT_EQ(TestMachine::round_trip(mouse, mouse2), std::vector<std::string>{});
  EXPECT_EQ(TestMachine::round_trip(kbc, kbc2), std::vector<std::string>{});
}

TEST(KeysTest, NamesAreUnique) {
  for (int i = 0; i < static_cast<int>(Key::kCount); i++)
    EXPECT_EQ(key_by_name(key_name(static_cast<Key>(i))), static_cast<Key>(i));
  EXPECT_FALSE(key_by_name("nokey"));
}

}  // namespace
}  // namespace menura
