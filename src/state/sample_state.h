// SampleState: an object with a member of every kind that can be described, for tests and fuzzing.
//
// Owner: the test. Threads: none. Example: `SampleState s;  StateTree tree = save_state(s, "s", 2);`
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "state/visitor.h"

namespace menura {

enum class SampleMode : u8 { Idle, Running, Broken = 7 };
enum class SampleOrder : i8 { Before = -1, Same, After };

struct SampleCounter {
  u16 reload = 0;
  bool gate = true;
  void describe(StateVisitor& v) {
    v.field("reload", reload);
    v.field("gate", gate);
  }
  bool operator==(const SampleCounter&) const = default;
};

struct SampleState {
  u8 small = 1;
  i8 negative = -2;
  u64 wide = ~u64{0};
  i64 deadline = std::numeric_limits<i64>::max();
  SampleMode mode = SampleMode::Idle;
  SampleOrder order = SampleOrder::Same;
  bool on = false;
  std::string text = "reset";
  std::array<u8, 4> fixed_bytes{1, 2, 3, 4};
  std::vector<u8> bytes;
  std::array<u16, 3> list{};
  std::vector<i32> numbers;
  std::array<SampleCounter, 3> counters;
  std::vector<SampleCounter> more;
  std::optional<u32> maybe;
  u32 since_two = 22;  // the reset default

  void describe(StateVisitor& v) {
    v.field("small", small);
    v.field("negative", negative);
    v.field("wide", wide);
    v.field("deadline", deadline);
    v.field("mode", mode);
    v.field("order", order);
    v.field("on", on);
    v.field("text", text);
    v.field("fixed_bytes", fixed_bytes);
    v.field("bytes", bytes);
    v.field("list", list);
    v.field("numbers", numbers);
    v.field("counters", counters);
    v.field("more", more);
    v.field("maybe", maybe);
    v.since(2).field("since_two", since_two);
  }
  bool operator==(const SampleState&) const = default;

  // No member at its default.
  static SampleState other() {
    SampleState s{200,
                  -128,
                  5,
                  -7,
                  SampleMode::Broken,
                  SampleOrder::Before,
                  true,
                  "a \"b\"\n\x01\u00e9",
                  {9, 8, 7, 6}};
    s.bytes.assign(100, 0x5a);
    s.list = {1, 0x8000, 0xffff};
    s.numbers = {-1, 0, 2'000'000'000};
    s.counters[1] = {0x1234, false};
    s.more = {{7, true}, {8, false}};
    s.maybe = 77;
    s.since_two = 23;
    return s;
  }
};

}  // namespace menura
