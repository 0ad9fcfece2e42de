// Integers in memory with a stated byte order: the only way menura reads or writes a format.
//
// Owner: base. Threads: pure functions. Offsets must lie inside the span (our bug otherwise):
// untrusted lengths are checked before. Example: `u32 magic = load_be<u32>(header, 0);`
#pragma once

#include <bit>
#include <concepts>
#include <cstring>

#include "base/check.h"
#include "base/types.h"

namespace menura {

template <std::unsigned_integral T>
constexpr T byte_swap(T value) {
  if constexpr (sizeof(T) == 1)
    return value;
  else if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else
    return __builtin_bswap64(value);
}

// Unaligned raw access in host order.
template <class T>
T load_raw(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void store_raw(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

template <std::unsigned_integral T>
T load_le(ConstBytes from, size_t offset = 0) {
  ensure(offset <= from.size() && from.size() - offset >= sizeof(T), "load_le inside the span");
  T value = load_raw<T>(from.data() + offset);
  return std::endian::native == std::endian::little ? value : byte_swap(value);
}
template <std::unsigned_integral T>
T load_be(ConstBytes from, size_t offset = 0) {
  return byte_swap(load_le<T>(from, offset));
}
template <std::unsigned_integral T>
void store_le(Bytes to, size_t offset, T value) {
  ensure(offset <= to.size() && to.size() - offset >= sizeof(T), "store_le inside the span");
  store_raw(to.data() + offset,
            std::endian::native == std::endian::little ? value : byte_swap(value));
}
template <std::unsigned_integral T>
void store_be(Bytes to, size_t offset, T value) {
  store_le(to, offset, byte_swap(value));
}

}  // namespace menura
