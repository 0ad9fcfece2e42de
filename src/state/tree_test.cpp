#include "state/tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "state/sample_state.h"

namespace menura {
namespace {

StateTree* child(StateTree& tree, std::string_view name) {
  const auto found = std::ranges::find(tree.children, name, &StateTree::name);
  return found == tree.children.end() ? nullptr : &*found;
}

TEST(State, SaveAndLoadEveryKindOfMember) {
  SampleState full = SampleState::other(), empty;
  ASSERT_NE(full, empty);
  ASSERT_TRUE(load_state(empty, save_state(full, "sample", 2)));
  EXPECT_EQ(empty, full);
  // And back: what was there is replaced, not added to.
  SampleState fresh;
  ASSERT_TRUE(load_state(full, save_state(fresh, "sample", 2)));
  EXPECT_EQ(full, fresh);
}

TEST(State, OrderOfMembersDoesNotMatter) {
  SampleState full = SampleState::other(), loaded;
  StateTree tree = save_state(full, "sample", 2);
  std::ranges::reverse(tree.children);
  ASSERT_TRUE(load_state(loaded, tree));
  EXPECT_EQ(loaded, full);
}

TEST(State, AnOlderVersionKeepsTheDefaultOfWhatItLacks) {
  SampleState full = SampleState::other(), loaded;
  StateTree tree = save_state(full, "sample", 1);
  std::erase_if(tree.children, [](const StateTree& node) { return node.name == "since_two"; });
  ASSERT_TRUE(load_state(loaded, tree));
  EXPECT_EQ(loaded.since_two, 22u);
  loaded.since_two = full.since_two;
  EXPECT_EQ(loaded, full);
  // Of the version that has it, its absence is damage.
  tree.version = 2;
  const Result<void> status = load_state(loaded, tree);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::Corrupt);
  EXPECT_EQ(status.error().text, "Saved state lacks 'since_two'");
}

TEST(State, MembersThatWeDoNotKnowAreIgnored) {
  SampleState full = SampleState::other(), loaded;
  StateTree tree = save_state(full, "sample", 2);
  tree.children.push_back({.name = "from_the_future", .kind = StateTree::Kind::Integer});
  EXPECT_TRUE(load_state(loaded, tree));
  EXPECT_EQ(loaded, full);
}

TEST(State, EachMissingOrMistypedMemberIsNamed) {
  SampleState full = SampleState::other();
  const StateTree good = save_state(full, "sample", 2);
  for (const StateTree& node : good.children) {
    SampleState loaded;
    StateTree tree = good;
    std::erase_if(tree.children, [&](const StateTree& n) { return n.name == node.name; });
    EXPECT_EQ(load_state(loaded, tree).error().text, "Saved state lacks '" + node.name + "'");
    tree = good;
    StateTree& other = *child(tree, node.name);
    other.kind =
        node.kind == StateTree::Kind::Text ? StateTree::Kind::Integer : StateTree::Kind::Text;
    EXPECT_EQ(load_state(loaded, tree).error().text,
              "Saved state holds another type in '" + node.name + "'");
  }
}

struct Widths {
  u8 u = 0;
  i8 s = 0;
  SampleMode e = SampleMode::Idle;
  SampleOrder o = SampleOrder::Same;
  void describe(StateVisitor& v) {
    v.field("u", u);
    v.field("s", s);
    v.field("e", e);
    v.field("o", o);
  }
};

TEST(State, IntegersOutOfRangeAreRefusedAndChangeNothing) {
  const struct {
    const char* name;
    i64 value;
    bool good;
  } rows[] = {
      {"u", 255, true},    {"u", 256, false}, {"u", -1, false},   {"s", 127, true},
      {"s", 128, false},   {"s", -128, true}, {"s", -129, false}, {"e", 7, true},
      {"e", 0x107, false}, {"o", 1, true},    {"o", -1, true},    {"o", -129, false},
  };
  for (const auto& row : rows) {
    Widths object;
    StateTree tree = save_state(object);
    child(tree, row.name)->integer = static_cast<u64>(row.value);
    const Result<void> status = load_state(object, tree);
    EXPECT_EQ(status.ok(), row.good) << row.name << " = " << row.value;
    if (row.good) continue;
    EXPECT_NE(status.error().text.find("does not fit 8 bits"), std::string::npos);
    EXPECT_EQ(object.u, 0);
    EXPECT_EQ(object.s, 0);
    EXPECT_EQ(object.e, SampleMode::Idle);
    EXPECT_EQ(object.o, SampleOrder::Same);
  }
}

TEST(State, NumbersThatTheirEnumHasNoNameForAreRefusedAndChangeNothing) {
  const struct {
    const char* name;
    i64 value;
    bool good;
  } rows[] = {
      {"e", 1, true},    {"e", 2, false}, {"e", 7, true},  {"e", 8, false},
      {"e", 255, false}, {"o", -1, true}, {"o", 2, false}, {"o", -128, false},
  };
  for (const auto& row : rows) {
    Widths object;
    StateTree tree = save_state(object);
    child(tree, row.name)->integer = static_cast<u64>(row.value);
    const Result<void> status = load_state(object, tree);
    EXPECT_EQ(status.ok(), row.good) << row.name << " = " << row.value;
    if (row.good) {
      EXPECT_EQ(save_state(object), tree);
      continue;
    }
    EXPECT_EQ(status.error().code, Errc::Corrupt);
    EXPECT_EQ(status.error().text,
              format("Saved '{}' = {} is none of its values", row.name, row.value));
    EXPECT_EQ(object.e, SampleMode::Idle);
    EXPECT_EQ(object.o, SampleOrder::Same);
  }
}

TEST(State, FixedSizesMustMatch) {
  SampleState full = SampleState::other();
  const StateTree good = save_state(full, "sample", 2);
  SampleState loaded;
  StateTree tree = good;
  child(tree, "fixed_bytes")->bytes.push_back({});
  EXPECT_EQ(load_state(loaded, tree).error().text, "'fixed_bytes' holds 5 bytes, expected 4");
  tree = good;
  child(tree, "list")->children.pop_back();
  EXPECT_EQ(load_state(loaded, tree).error().text, "'list' holds 2 values, expected 3");
  tree = good;
  StateTree& maybe = *child(tree, "maybe");
  maybe.children.push_back(maybe.children[0]);
  EXPECT_EQ(load_state(loaded, tree).error().text, "'maybe' holds more than one value");
}

TEST(StateDeathTest, AMemberDescribedTwiceIsOurBug) {
  struct Twice {
    u8 a = 0;
    void describe(StateVisitor& v) {
      v.field("a", a);
      v.field("a", a);
    }
  } twice;
  EXPECT_DEATH((void)save_state(twice), "a field is described twice");
}

TEST(Compare, EqualStatesHaveNoDifference) {
  SampleState a = SampleState::other(), b = SampleState::other();
  EXPECT_TRUE(compare(save_state(a), save_state(b)).empty());
}

TEST(Compare, DifferencesCarryTheirPathAndBothValues) {
  SampleState a = SampleState::other(), b = a;
  b.small = 201;
  b.counters[1].reload = 0x1235;
  b.bytes[40] = 0x5b;
  b.numbers.pop_back();
  b.on = false;
  b.maybe.reset();
  std::vector<std::string> lines;
  for (const StateDifference& d : compare(save_state(a, "dev"), save_state(b, "dev")))
    lines.push_back(d.path + ": " + d.left + " / " + d.right);
  EXPECT_EQ(lines,
            (std::vector<std::string>{
                "dev.small: 0xc8 / 0xc9", "dev.on: on / off", "dev.bytes[40]: 0x5a / 0x5b",
                "dev.numbers[2]: 2000000000 / (absent)", "dev.counters[1].reload: 0x1234 / 0x1235",
                "dev.maybe[0]: 0x4d / (absent)"}));
}

TEST(Compare, AbsentMembersAndOtherKinds) {
  SampleState a;
  StateTree left = save_state(a), right = left;
  std::erase_if(right.children, [](const StateTree& n) { return n.name == "small"; });
  child(right, "text")->kind = StateTree::Kind::Integer;
  child(right, "bytes")->bytes.resize(2);
  std::vector<std::string> paths;
  for (const StateDifference& d : compare(left, right))
    paths.push_back(d.path + ": " + d.left + " / " + d.right);
  EXPECT_EQ(paths, (std::vector<std::string>{"small: 0x1 / (absent)", "text: 'reset' / 0x0",
                                             "bytes: (0 bytes) / (2 bytes)"}));
  EXPECT_EQ(compare(right, left)[0].path, "text");
}

TEST(Print, OneLineAValue) {
  SampleCounter counter{0x1234, true};
  EXPECT_EQ(print_tree(save_state(counter, "counter0")),
            "counter0:\n  reload: 0x1234\n  gate: on\n");
  SampleState full = SampleState::other();
  const std::string text = print_tree(save_state(full));
  EXPECT_NE(text.find("  list: 0x1 0x8000 0xffff\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  more:\n    [0]:\n      reload: 0x7\n"), std::string::npos) << text;
  EXPECT_NE(text.find("5a... (100 bytes)"), std::string::npos) << text;
  EXPECT_NE(text.find("  negative: -128\n"), std::string::npos) << text;
}

// nlohmann's reader is the oracle.
TEST(Json, IsReadByAnotherProgram) {
  SampleState full = SampleState::other();
  const auto json = nlohmann::json::parse(to_json(save_state(full)), nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["small"], 200);
  EXPECT_EQ(json["negative"], -128);
  EXPECT_EQ(json["deadline"], -7);
  EXPECT_EQ(json["mode"], 7);
  EXPECT_EQ(json["order"], -1);
  EXPECT_EQ(json["on"], true);
  EXPECT_EQ(json["text"].get<std::string>(), full.text);
  EXPECT_EQ(json["fixed_bytes"], "09080706");
  EXPECT_EQ(json["bytes"].get<std::string>().size(), 200u);
  EXPECT_EQ(json["list"].get<std::vector<int>>(), (std::vector<int>{1, 0x8000, 0xffff}));
  EXPECT_EQ(json["counters"][1]["reload"], 0x1234);
  EXPECT_EQ(json["counters"][1]["gate"], false);
  EXPECT_EQ(json["maybe"][0], 77);
  SampleState fresh;
  EXPECT_EQ(nlohmann::json::parse(to_json(save_state(fresh)))["wide"].get<u64>(), ~u64{0});
}

// What a guest or an operator wrote need not be UTF-8; the JSON must be.
TEST(Json, AnyTextBecomesValidJson) {
  struct Text {
    std::string text;
    void describe(StateVisitor& v) { v.field("text", text); }
  } object;
  for (unsigned c = 0; c < 256; c++) {
    object.text = std::string("x") + static_cast<char>(c) + "y";
    const auto json = nlohmann::json::parse(to_json(save_state(object)), nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << c;
    const bool ascii = c < 0x80;
    EXPECT_EQ(json["text"].get<std::string>() == object.text, ascii) << c;
  }
  std::mt19937 random(9);
  for (int round = 0; round < 20'000; round++) {
    object.text.resize(random() % 12);
    constexpr std::string_view kBytes =
        "a\xc3\xa9\xe2\x82\xac\xed\xa0\xf0\x9f\x98\x80\xf4\x90\xff\"\\";
    for (char& c : object.text) c = kBytes[random() % kBytes.size()];
    const auto json = nlohmann::json::parse(to_json(save_state(object)), nullptr, false);
    ASSERT_FALSE(json.is_discarded());
    // What is well-formed passes unchanged; nlohmann's own writer is the judge of that.
    const std::string strict =
        nlohmann::json(object.text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
    const bool well_formed = nlohmann::json::parse(strict).get<std::string>() == object.text;
    ASSERT_EQ(json["text"].get<std::string>() == object.text, well_formed);
  }
}

}  // namespace
}  // namespace menura
