// Sizes and times with their units, and sizes as people write them ("4G", "512k").
//
// Owner: base. Threads: pure functions. Example: `u64 window = 64 * KiB;`
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace menura {

inline constexpr u64 KiB = u64{1} << 10;
inline constexpr u64 MiB = u64{1} << 20;
inline constexpr u64 GiB = u64{1} << 30;
inline constexpr u64 TiB = u64{1} << 40;

// Durations are nanoseconds in i64: 292 years either way.
inline constexpr i64 kNsPerUs = 1'000;
inline constexpr i64 kNsPerMs = 1'000'000;
inline constexpr i64 kNsPerSecond = 1'000'000'000;

// Parses "1536", "1.5G", "64k", "0x1000" with suffixes b k M G T P E (any case, optional "iB"/"B");
// a bare number counts in default_unit. OutOfRange past 2^63-1, InvalidArgument when malformed.
Result<u64> parse_size(std::string_view text, u64 default_unit = 1);

// An unsigned integer in C notation (decimal, 0x, 0 octal), all of the text.
Result<u64> parse_u64(std::string_view text);

// "1.5 GiB", "512 B": three significant digits.
std::string format_size(u64 size);

}  // namespace menura
