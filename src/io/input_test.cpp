#include "io/input.h"

#include <gtest/gtest.h>

#include "event/tape.h"

namespace menura {
namespace {

struct Recorder final : InputSink {
  explicit Recorder(InputKinds kinds) : kinds(kinds) {}
  InputKinds takes() const override { return kinds; }
  std::string_view input_name() const override { return "recorder"; }
  void key(Key key, bool down) override {
    log += std::string(down ? "+" : "-") + std::string(key_name(key)) + " ";
  }
  void move(i32 dx, i32 dy) override { log += format("move {},{} ", dx, dy); }
  void move_to(u16 x, u16 y) override { log += format("at {},{} ", x, y); }
  void button(PointerButton button, bool down) override {
    log += format("{}b{} ", down ? "+" : "-", static_cast<int>(button));
  }
  void wheel(i32 up, i32 right) override { log += format("wheel {},{} ", up, right); }
  void sync() override { log += "sync "; }
  InputKinds kinds;
  std::string log;
};

struct InputsTest : testing::Test {
  ScriptedTape tape;
  Inputs inputs{tape};
  Recorder keyboard{{.keys = true}};
  Recorder mouse{{.relative = true}};
  Recorder tablet{{.absolute = true}};
};

TEST_F(InputsTest, EventsWithoutADeviceAreLost) {
  EXPECT_FALSE(inputs.key(Key::A, true));
  EXPECT_FALSE(inputs.move(1, 1));
  EXPECT_FALSE(inputs.button(PointerButton::Left, true));
  EXPECT_FALSE(inputs.absolute());
}

TEST_F(InputsTest, KeysGoToTheKeyboardAndMovesToTheMouse) {
  inputs.add(keyboard);
  inputs.add(mouse);
  EXPECT_TRUE(inputs.key(Key::Ret, true));
  EXPECT_TRUE(inputs.move(3, -4));
  EXPECT_FALSE(inputs.move_to(1, 1));
  EXPECT_TRUE(inputs.wheel(1, 0));
  inputs.sync();
  EXPECT_EQ(keyboard.log, "+ret sync ");
  EXPECT_EQ(mouse.log, "move 3,-4 wheel 1,0 sync ");
}

TEST_F(InputsTest, ThePointerActivatedLastIsInUse) {
  unsigned told = 0;
  inputs.add(mouse);
  inputs.add(tablet);
  inputs.observe([&] { told++; });
  EXPECT_FALSE(inputs.absolute());
  inputs.activate(tablet);
  EXPECT_TRUE(inputs.absolute());
  EXPECT_EQ(told, 1u);
  inputs.button(PointerButton::Right, true);
  inputs.move_to(100, 0xffff);
  EXPECT_EQ(tablet.log, "+b2 at 100,32767 ");
  ASSERT_EQ(inputs.pointers().size(), 2u);
  EXPECT_TRUE(inputs.pointers()[0].absolute && inputs.pointers()[0].current);
  ASSERT_TRUE(inputs.select_pointer(0));
  EXPECT_FALSE(inputs.absolute());
  EXPECT_FALSE(inputs.select_pointer(7));
  inputs.remove(mouse);
  EXPECT_TRUE(inputs.absolute());
}

TEST_F(InputsTest, WhatIsDownCanBeReleased) {
  inputs.add(keyboard);
  inputs.add(mouse);
  inputs.key(Key::Ctrl, true);
  inputs.key(Key::A, true);
  inputs.key(Key::A, false);
  inputs.button(PointerButton::Left, true);
  keyboard.log.clear();
  mouse.log.clear();
  inputs.release_all();
  EXPECT_EQ(keyboard.log, "-ctrl sync ");
  EXPECT_EQ(mouse.log, "-b0 sync ");
}

TEST_F(InputsTest, OnlyTheKeyboardInUseSetsTheLights) {
  inputs.add(keyboard);
  inputs.set_leds(mouse, {.caps = true});
  EXPECT_FALSE(inputs.leds().caps);
  inputs.set_leds(keyboard, {.caps = true});
  EXPECT_TRUE(inputs.leds().caps);
}

TEST(Keys, NumbersGoBothWaysAndAreUnique) {
  for (size_t i = 0; i < static_cast<size_t>(Key::kCount); i++) {
    const Key key = static_cast<Key>(i);
    EXPECT_EQ(key_by_number(key_number(key)), key) << key_name(key);
    EXPECT_EQ(key_by_name(key_name(key)), key) << key_name(key);
    EXPECT_NE(key_evdev(key), 0) << key_name(key);
  }
  EXPECT_FALSE(key_by_number(0));
  EXPECT_FALSE(key_by_number(0x1c + 0x100));
}

// A few by hand from the published tables, one of each column.
TEST(Keys, Tables) {
  EXPECT_EQ(key_set1(Key::KpEnter), 0xe01c);
  EXPECT_EQ(key_set2(Key::KpEnter), 0xe05a);
  EXPECT_EQ(key_evdev(Key::KpEnter), 96);
  EXPECT_EQ(key_hid(Key::KpEnter), 0x58);
  EXPECT_EQ(key_number(Key::KpEnter), 0x9c);
  EXPECT_EQ(key_evdev(Key::F24), 194);
  EXPECT_EQ(key_hid(Key::MetaR), 0xe7);
}

}  // namespace
}  // namespace menura
