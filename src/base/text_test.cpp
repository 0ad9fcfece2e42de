#include "base/text.h"

#include <fnmatch.h>
#include <gtest/gtest.h>

#include <random>

namespace menura {
namespace {

using Parts = std::vector<std::string_view>;

TEST(Text, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,b,,c", ','), (Parts{"a", "b", "", "c"}));
  EXPECT_EQ(split("", ','), Parts{""});
  EXPECT_EQ(split(",", ','), (Parts{"", ""}));
}

TEST(Text, TrimAndJoin) {
  EXPECT_EQ(trim("  a b\t\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(join(Parts{"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(join(Parts{}, ", "), "");
  EXPECT_EQ(join(split("x/y//z", '/'), "/"), "x/y//z");
}

// The oracle is fnmatch(3).
TEST(Text, GlobAgreesWithTheCLibrary) {
  std::mt19937 random(7);
  for (int round = 0; round < 50'000; round++) {
    const auto word = [&](const char* letters, size_t count) {
      std::string text(random() % 9, ' ');
      for (char& c : text) c = letters[random() % count];
      return text;
    };
    const std::string pattern = word("ab.*?*", 6), text = word("ab.", 3);
    ASSERT_EQ(glob_match(pattern, text), ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0)
        << "'" << pattern << "' on '" << text << "'";
  }
}

TEST(Text, GlobTakesNoExponentialTime) {
  const std::string text(5000, 'a');
  std::string pattern;
  for (int i = 0; i < 50; i++) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", text));
  EXPECT_TRUE(glob_match(pattern, text));
}

TEST(Text, NearestFindsWhatWasMeant) {
  const Parts names = {"memory", "machine", "monitor", "virtio-blk-pci", "virtio-net-pci", "e1000"};
  EXPECT_EQ(nearest("memry", names), "memory");
  EXPECT_EQ(nearest("mahcine", names), "machine");
  EXPECT_EQ(nearest("virtio-blk", names), "virtio-blk-pci");
  EXPECT_EQ(nearest("virtio-nte-pci", names), "virtio-net-pci");
  EXPECT_EQ(nearest("e100", names), "e1000");
  EXPECT_EQ(nearest("zzzzzz", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("memory", {}), "");
}

TEST(Text, SuggestionIsReadyForAnErrorText) {
  const Parts names = {"memory"};
  EXPECT_EQ(suggestion("memry", names), " (did you mean 'memory'?)");
  EXPECT_EQ(suggestion("floppy", names), "");
}

}  // namespace
}  // namespace menura
