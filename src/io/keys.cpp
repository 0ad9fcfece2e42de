#include "io/keys.h"

#include <algorithm>
#include <array>

namespace menura {

namespace {

struct Row {
  std::string_view name;
  u16 set1;
  u16 set2;
  u16 evdev;
  u8 hid;
};
constexpr std::array<Row, static_cast<size_t>(Key::kCount)> kRows{{
#define KEY(id, name, set1, set2, evdev, hid) {name, set1, set2, evdev, hid},
#include "io/keys.def"
#undef KEY
}};

const Row& row(Key key) { return kRows[static_cast<size_t>(key)]; }

// The two that have no make code of their own are known by the code that is in their sequence.
constexpr u8 kPrintNumber = 0xb7;
constexpr u8 kPauseNumber = 0xc6;

}  // namespace

std::string_view key_name(Key key) { return row(key).name; }

std::optional<Key> key_by_name(std::string_view name) {
  const auto at = std::ranges::find(kRows, name, &Row::name);
  if (at == kRows.end()) return std::nullopt;
  return static_cast<Key>(at - kRows.begin());
}

u16 key_set1(Key key) { return row(key).set1; }
u16 key_set2(Key key) { return row(key).set2; }
u16 key_evdev(Key key) { return row(key).evdev; }
u8 key_hid(Key key) { return row(key).hid; }

u8 key_number(Key key) {
  if (key == Key::Print) return kPrintNumber;
  if (key == Key::Pause) return kPauseNumber;
  const u16 code = row(key).set1;
  return static_cast<u8>(code > 0xff ? code | 0x80 : code);
}

std::optional<Key> key_by_number(u32 number) {
  for (size_t i = 0; i < kRows.size(); i++)
    if (key_number(static_cast<Key>(i)) == number) return static_cast<Key>(i);
  return std::nullopt;
}

}  // namespace menura
