// Key: the keys of a keyboard, by the names that people and the monitor use, with the numbers that
// scan codes, Linux and USB know them by.
//
// Owner: io. Threads: values. Example: `std::optional<Key> key = key_by_name("ret");`
#pragma once

#include <optional>
#include <string_view>

#include "base/types.h"

namespace menura {

enum class Key : u8 {
#define KEY(id, name, set1, set2, evdev, hid) id,
#include "io/keys.def"
#undef KEY
  kCount
};

std::string_view key_name(Key key);
std::optional<Key> key_by_name(std::string_view name);

// Make codes; E0xxh stands for two bytes, 0 for keys with a sequence of their own.
u16 key_set1(Key key);
u16 key_set2(Key key);
// KEY_* of Linux's input-event-codes.h, which virtio-input speaks.
u16 key_evdev(Key key);
// Usage on the keyboard page of USB HID; 0: not there.
u8 key_hid(Key key);

// "Number" of the monitor's key values and of RFB's extended key event: the make code of set 1,
// with bit 7 for those behind an E0.
u8 key_number(Key key);
std::optional<Key> key_by_number(u32 number);

}  // namespace menura
