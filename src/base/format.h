// Text formatting: the one door to fmt.
//
// Owner: base. Threads: any. Example: `std::string s = format("slot {} at {:#x}", n, gpa);`
#pragma once

#include <fmt/core.h>

#include <string>

namespace menura {

template <class... Args>
std::string format(fmt::format_string<Args...> pattern, Args&&... args) {
  return fmt::vformat(pattern, fmt::make_format_args(args...));
}

}  // namespace menura
