// menura's version, as in the file VERSION at the top of the source tree.
//
// Owner: base. Threads: any.
// Example: `fmt::print("menura {}\n", version());`
#pragma once

#include <string_view>

namespace menura {

// Three decimal numbers: "0.1.0".
std::string_view version();

}  // namespace menura
