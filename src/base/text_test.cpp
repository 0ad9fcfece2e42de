#include "base/text.h"

#include <gtest/gtest.h>

#include <array>

namespace menura {
namespace {

using Words = std::vector<std::string_view>;

TEST(Text, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,b,,c", ','), (Words{"a", "b", "", "c"}));
  EXPECT_EQ(split("", ','), (Words{""}));
  EXPECT_EQ(split(",", ','), (Words{"", ""}));
  EXPECT_EQ(join(Words{"a", "", "b"}, ", "), "a, , b");
  EXPECT_EQ(join(Words{}, ","), "");
}

TEST(Text, Trim) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Text, GlobsMatchWholeWords) {
  EXPECT_TRUE(glob_match("pit.*", "pit.load"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_TRUE(glob_match("*.l??d", "pit.a.load"));
  EXPECT_TRUE(glob_match("a*b*c", "a--b-b--bc"));
  EXPECT_FALSE(glob_match("pit.*", "pit"));
  EXPECT_FALSE(glob_match("?", ""));
  EXPECT_FALSE(glob_match("a*b", "a-b-"));
}

TEST(Text, GlobsOfManyStarsEndSoon) {
  const std::string text(20'000, 'a');
  EXPECT_FALSE(glob_match("*a*a*a*a*a*a*a*a*a*a*a*b", text));
}

TEST(Text, SuggestsTheNearest) {
  const std::array<std::string_view, 4> names = {"memory", "machine", "virtio-blk-pci", "m"};
  EXPECT_EQ(nearest("memry", names), "memory");
  EXPECT_EQ(nearest("machien", names), "machine");
  EXPECT_EQ(nearest("virtio-blk", names), "virtio-blk-pci");
  EXPECT_EQ(nearest("network", names), "");
  EXPECT_EQ(suggestion("memry", names), " (did you mean 'memory'?)");
  EXPECT_EQ(suggestion("network", names), "");
  EXPECT_EQ(nearest("memory", {}), "");
}

}  // namespace
}  // namespace menura
