// Key: the keys of a PC keyboard, by the names that people and the monitor use.
//
// Owner: hw/input. Threads: values. Example: `std::optional<Key> key = key_by_name("ret");`
#pragma once

#include <optional>
#include <string_view>

#include "base/types.h"

namespace menura {

enum class Key : u8 {
#define KEY(id, name, set1, set2) id,
#include "hw/input/keys.def"
#undef KEY
  kCount
};

std::string_view key_name(Key key);
std::optional<Key> key_by_name(std::string_view name);

// Make codes; E0xxh stands for two bytes, 0 for keys with a sequence of their own.
u16 key_set1(Key key);
u16 key_set2(Key key);

}  // namespace menura
