#include "hw/input/keys.h"

#include <algorithm>
#include <array>

namespace menura {

namespace {

struct Row {
  std::string_view name;
  u16 set1;
  u16 set2;
};
constexpr std::array<Row, static_cast<size_t>(Key::kCount)> kRows{{
#define KEY(id, name, set1, set2) {name, set1, set2},
#include "hw/input/keys.def"
#undef KEY
}};

}  // namespace

std::string_view key_name(Key key) { return kRows[static_cast<size_t>(key)].name; }

std::optional<Key> key_by_name(std::string_view name) {
  const auto at = std::ranges::find(kRows, name, &Row::name);
  if (at == kRows.end()) return std::nullopt;
  return static_cast<Key>(at - kRows.begin());
}

u16 key_set1(Key key) { return kRows[static_cast<size_t>(key)].set1; }
u16 key_set2(Key key) { return kRows[static_cast<size_t>(key)].set2; }

}  // namespace menura
