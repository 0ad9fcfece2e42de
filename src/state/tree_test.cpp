// describe() and what derives from it: saving, loading, versions, comparison, print, JSON.
#include "state/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>

namespace menura {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

enum class Mode : u8 { OneShot, Periodic };

struct Counter {
  u16 reload = 0x1234;
  i8 drift = -3;
  Mode mode = Mode::Periodic;
  void describe(StateVisitor& v) {
    v.field("reload", reload);
    v.field("drift", drift);
    v.field("mode", mode);
  }
  bool operator==(const Counter&) const = default;
};

struct Chip {
  bool gate = true;
  u64 wide = ~u64{0};
  i64 deadline = -1;
  std::string name = "pit";
  std::array<Counter, 2> counters;
  std::vector<u32> queue{1, 2, 3};
  std::array<u8, 4> ram{0xde, 0xad, 0xbe, 0xef};
  std::vector<std::byte> fifo{std::byte{7}};
  std::optional<u8> latch = 5;
  std::optional<Counter> spare;
  void describe(StateVisitor& v) {
    v.field("gate", gate);
    v.field("wide", wide);
    v.field("deadline", deadline);
    v.field("name", name);
    v.field("counters", counters);
    v.field("queue", queue);
    v.field("ram", ram);
    v.field("fifo", fifo);
    v.field("latch", latch);
    v.field("spare", spare);
  }
  bool operator==(const Chip&) const = default;
};

Chip other_chip() {
  Chip chip{.gate = false,
            .wide = 1,
            .deadline = INT64_MIN,
            .name = "",
            .counters = {},
            .queue = {},
            .ram = {}};
  chip.counters[1].drift = -128;
  chip.fifo.clear();
  chip.latch.reset();
  chip.spare = Counter{.reload = 9};
  return chip;
}

TEST(StateTree, LoadsWhatItSaved) {
  Chip saved = other_chip(), loaded;
  ASSERT_TRUE(load_state(loaded, save_state(saved)));
  EXPECT_EQ(loaded, saved);
  Chip back;
  ASSERT_TRUE(load_state(loaded, save_state(back)));
  EXPECT_EQ(loaded, back);
}

TEST(StateTree, TheOrderOfFieldsDoesNotMatter) {
  Chip saved = other_chip(), loaded;
  StateTree tree = save_state(saved);
  std::ranges::reverse(tree.children);
  ASSERT_TRUE(load_state(loaded, tree));
  EXPECT_EQ(loaded, saved);
}

TEST(StateTree, AMissingFieldIsAnError) {
  Chip chip;
  StateTree tree = save_state(chip);
  std::erase_if(tree.children, [](const StateTree& node) { return node.name == "wide"; });
  const Result<void> loaded = load_state(chip, tree);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().text, "Saved state lacks 'wide'");
  EXPECT_EQ(loaded.error().code, Errc::Corrupt);
}

struct Newer {
  u8 old = 1;
  u8 fresh = 0x55;  // the reset default
  void describe(StateVisitor& v) {
    v.field("old", old);
    v.since(2).field("fresh", fresh);
  }
};

TEST(StateTree, AFieldThatAnOlderStreamLacksKeepsItsDefault) {
  Newer chip{.old = 7, .fresh = 8};
  StateTree older = save_state(chip, "chip", 1);
  std::erase_if(older.children, [](const StateTree& node) { return node.name == "fresh"; });
  Newer loaded;
  ASSERT_TRUE(load_state(loaded, older));
  EXPECT_EQ(loaded.old, 7);
  EXPECT_EQ(loaded.fresh, 0x55);
  ASSERT_TRUE(load_state(loaded, save_state(chip, "chip", 2)));
  EXPECT_EQ(loaded.fresh, 8);
  older.version = 2;  // it should have it then
  EXPECT_FALSE(load_state(loaded, older));
}

// One wrong node, by the name of its field, must be refused with a text that names it.
template <class Change>
std::string refusal(std::string_view field, Change change) {
  Chip chip;
  StateTree tree = save_state(chip);
  for (StateTree& node : tree.children)
    if (node.name == field) change(node);
  const Result<void> loaded = load_state(chip, tree);
  return loaded ? "(accepted)" : loaded.error().text;
}

TEST(StateTree, WrongTypesAndSizesAreRefused) {
  EXPECT_THAT(refusal("gate", [](StateTree& n) { n.kind = StateTree::Kind::Text; }),
              HasSubstr("another type in 'gate'"));
  EXPECT_THAT(refusal("counters", [](StateTree& n) { n.children.pop_back(); }),
              HasSubstr("'counters' holds 1 values, expected 2"));
  EXPECT_THAT(refusal("ram", [](StateTree& n) { n.bytes.pop_back(); }),
              HasSubstr("'ram' holds 3 bytes, expected 4"));
  EXPECT_THAT(refusal("latch", [](StateTree& n) { n.children.push_back(n.children[0]); }),
              HasSubstr("'latch' holds more than one"));
  EXPECT_THAT(
      refusal("counters", [](StateTree& n) { n.children[0].children[0].integer = 0x1'0000; }),
      HasSubstr("does not fit 16 bits"));
  EXPECT_THAT(refusal("counters", [](StateTree& n) { n.children[0].children[1].integer = 0x80; }),
              HasSubstr("does not fit 8 bits"));
  EXPECT_THAT(refusal("queue", [](StateTree& n) { n.children[1].integer = u64{1} << 32; }),
              HasSubstr("does not fit 32 bits"));
}

TEST(StateTree, ListsGrowToTheirLimitOnly) {
  EXPECT_EQ(refusal("queue", [](StateTree& n) { n.children.resize(1, n.children[0]); }),
            "(accepted)");
}

struct Twice {
  u8 x = 0;
  void describe(StateVisitor& v) {
    v.field("x", x);
    v.field("x", x);
  }
};

TEST(StateTreeDeathTest, ANameUsedTwiceIsOurBug) {
  Twice twice;
  EXPECT_DEATH(save_state(twice), "a field is described twice");
}

std::vector<std::string> differences(const StateTree& left, const StateTree& right) {
  std::vector<std::string> lines;
  for (const StateDifference& d : compare(left, right))
    lines.push_back(d.path + ": " + d.left + " / " + d.right);
  return lines;
}

TEST(StateTree, DifferencesAreNamedByTheirPath) {
  Chip left, right;
  EXPECT_THAT(differences(save_state(left), save_state(right)), ElementsAre());
  right.counters[1].reload = 0xff;
  right.counters[0].drift = 4;
  right.queue = {1, 9};
  right.gate = false;
  right.fifo[0] = std::byte{8};
  EXPECT_THAT(differences(save_state(left, "pit"), save_state(right, "pit")),
              ElementsAre("pit.gate: on / off", "pit.counters[0].drift: -3 / 4",
                          "pit.counters[1].reload: 0x1234 / 0xff", "pit.queue[1]: 0x2 / 0x9",
                          "pit.queue[2]: 0x3 / (absent)", "pit.fifo: 07 / 08"));
  StateTree lacks = save_state(left);
  lacks.children.erase(lacks.children.begin());
  EXPECT_THAT(differences(lacks, save_state(left)), ElementsAre("gate: (absent) / on"));
  EXPECT_THAT(differences(save_state(left), lacks), ElementsAre("gate: on / (absent)"));
}

TEST(StateTree, DifferencesBeyondThePrintedBytesCount) {
  struct Ram {
    std::vector<std::byte> bytes = std::vector<std::byte>(100);
    void describe(StateVisitor& v) { v.field("bytes", bytes); }
  } left, right;
  right.bytes[99] = std::byte{1};
  EXPECT_EQ(compare(save_state(left), save_state(right)).size(), 1u);
}

TEST(StateTree, PrintsForPeople) {
  Chip chip;
  EXPECT_EQ(print_tree(save_state(chip, "pit")),
            "pit:\n"
            "  gate: on\n"
            "  wide: 0xffffffffffffffff\n"
            "  deadline: -1\n"
            "  name: 'pit'\n"
            "  counters:\n"
            "    [0]:\n"
            "      reload: 0x1234\n"
            "      drift: -3\n"
            "      mode: 0x1\n"
            "    [1]:\n"
            "      reload: 0x1234\n"
            "      drift: -3\n"
            "      mode: 0x1\n"
            "  queue: 0x1 0x2 0x3\n"
            "  ram: deadbeef\n"
            "  fifo: 07\n"
            "  latch: 0x5\n"
            "  spare:\n");
}

TEST(StateTree, JsonHoldsTheValues) {
  Chip chip;
  const Value read = parse_json(to_json(save_state(chip))).value();
  EXPECT_EQ(read, to_value(save_state(chip)));
  EXPECT_EQ(*read.find("wide")->as<u64>(), ~u64{0});
  EXPECT_EQ(*read.find("deadline")->as<i64>(), -1);
  EXPECT_EQ(*read.find("ram")->as<std::string>(), "deadbeef");
}

}  // namespace
}  // namespace menura
