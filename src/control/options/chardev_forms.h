// The short forms of a character device that -serial, -monitor, -qmp, -debugcon and -qtest take:
// "stdio", "mon:stdio", "file:PATH", "unix:PATH,server=on,wait=off", "tcp:HOST:PORT", "chardev:ID".
//
// Owner: control/options. Threads: pure functions.
// Example: `Result<ChardevForm> form = parse_chardev_form("unix:/tmp/s,server,nowait", "serial0");`
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "machine/config.h"

namespace menura {

struct ChardevForm {
  enum class Kind : u8 { None, Existing, New } kind = Kind::None;
  std::string id;             // Existing and New
  NamedOptions chardev;       // New: named `label`
  bool with_monitor = false;  // "mon:" was in front
};

Result<ChardevForm> parse_chardev_form(std::string_view text, std::string_view label);

// Of a GDB server: as above, but a socket listens, and nobody waits for a client.
Result<ChardevForm> parse_gdb_form(std::string_view text);

// For error and help texts: all the forms.
inline constexpr std::string_view kChardevForms =
    "none, null, stdio, pty, file:PATH, unix:PATH[,server=on][,wait=off], "
    "tcp:[HOST]:PORT[,server=on][,wait=off], chardev:ID, or mon: and one of these";

}  // namespace menura
