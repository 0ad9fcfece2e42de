// UUIDs as text: 32 hexadecimal digits in groups of 8-4-4-4-12.
//
// Owner: base. Threads: pure functions. Source: RFC 4122 §3; bytes in the order they are written.
// Example: `Uuid uuid = TRY(parse_uuid("00010203-0405-0607-0809-0a0b0c0d0e0f"));`
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace menura {

using Uuid = std::array<u8, 16>;

Result<Uuid> parse_uuid(std::string_view text);
std::string format_uuid(const Uuid& uuid);
// As SMBIOS and Windows keep it: the first three fields little-endian.
Uuid little_endian(const Uuid& uuid);

}  // namespace menura
