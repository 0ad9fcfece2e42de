// A file of options, as -readconfig reads it: each group is an option, its lines are properties.
//   [chardev "serial0"]
//     backend = "pty"
//   [device]
//     driver = "isa-serial"
//     chardev = "serial0"
//
// Owner: control/options. Threads: pure functions. Source: QEMU's documentation of -readconfig.
// Example: `for (const ConfigGroup& group : TRY(parse_config_file(text))) ...`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace menura {

struct ConfigGroup {
  std::string option;    // "device"
  std::string argument;  // "id=serial0,backend=pty", as behind the option on a command line
  unsigned line = 0;     // where it begins
};

// Errors name the line.
Result<std::vector<ConfigGroup>> parse_config_file(std::string_view text);

}  // namespace menura
