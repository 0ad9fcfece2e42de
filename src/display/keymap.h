// Keymap: from the keysyms that VNC clients send to the keys of a keyboard with some layout (-k).
//
// Owner: the VNC server. Threads: constant. Source: X11's keysymdef.h (numbers) and the layouts'
// standards as xkb draws them. Example: `std::optional<KeyChord> chord = keymap->find(0x41);`
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/keys.h"

namespace menura {

struct KeyChord {
  Key key = Key::kCount;
  bool shift = false;
  bool alt_gr = false;
  bool is_letter = false;  // caps lock is as good as shift
};

class Keymap {
 public:
  // "en-us", "de", ...; NotFound with did-you-mean.
  static Result<const Keymap*> of(std::string_view name);

  std::optional<KeyChord> find(u32 keysym) const;

 private:
  struct Layout;
  explicit Keymap(const Layout& layout);
  std::map<u32, KeyChord> chords_;
};

}  // namespace menura
