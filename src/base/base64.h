// Base64 with padding (RFC 4648 §4).
//
// Owner: base. Threads: pure functions. Example: `std::string text = base64_encode(bytes);`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

std::string base64_encode(ConstBytes bytes);

// InvalidArgument when the text has other characters, a wrong length, or set bits after its end.
Result<std::vector<std::byte>> base64_decode(std::string_view text);

}  // namespace menura
