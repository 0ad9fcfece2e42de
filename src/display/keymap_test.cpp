#include "display/keymap.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

TEST(Keymap, UsKeysAndTheirLevels) {
  const Keymap& us = *Keymap::of("en-us").value();
  EXPECT_EQ(us.find('a')->key, Key::A);
  EXPECT_FALSE(us.find('a')->shift);
  EXPECT_EQ(us.find('A')->key, Key::A);
  EXPECT_TRUE(us.find('A')->shift);
  EXPECT_EQ(us.find('@')->key, Key::Num2);
  EXPECT_EQ(us.find(0xff0d)->key, Key::Ret);
  EXPECT_EQ(us.find(0xffbe)->key, Key::F1);
  EXPECT_EQ(us.find(' ')->key, Key::Spc);
  EXPECT_FALSE(us.find(0x01001234));
}

// Every printable ASCII character can be typed on every layout, but for those it does not have.
TEST(Keymap, AsciiIsReachable) {
  for (const char* name : {"en-us", "en-gb", "de", "fr", "es"}) {
    const Keymap& map = *Keymap::of(name).value();
    for (u32 c = 0x20; c < 0x7f; c++) EXPECT_TRUE(map.find(c)) << name << " " << c;
  }
}

TEST(Keymap, GermanMovesAndAdds) {
  const Keymap& de = *Keymap::of("de").value();
  EXPECT_EQ(de.find('z')->key, Key::Y);
  EXPECT_EQ(de.find('@')->key, Key::Q);
  EXPECT_TRUE(de.find('@')->alt_gr);
  EXPECT_EQ(de.find(0xfc)->key, Key::BracketLeft);
  EXPECT_EQ(de.find(0x20ac)->key, Key::E);
  EXPECT_EQ(de.find(0xfe51)->key, Key::Equal);
}

TEST(Keymap, UnknownLayoutsAreTold) {
  const auto wrong = Keymap::of("en-uss");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().text.find("did you mean 'en-us'"), std::string::npos);
}

}  // namespace
}  // namespace menura
