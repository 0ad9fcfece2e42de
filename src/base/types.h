// Fixed-width names and byte spans used everywhere in menura.
//
// Owner: base. Threads: plain types. Example: `u64 address = 0; Bytes buffer{storage};`
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace menura {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

// Views any contiguous range of trivially copyable elements as bytes.
template <class T>
ConstBytes bytes_of(const T& range) {
  return std::as_bytes(std::span(range));
}
template <class T>
Bytes writable_bytes_of(T& range) {
  return std::as_writable_bytes(std::span(range));
}

}  // namespace menura
