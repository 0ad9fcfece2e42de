// Bit fields, powers of two and alignment.
//
// Owner: base. Threads: pure functions. Example: `u32 vector = bits(redirection, 7, 0);`
#pragma once

#include <bit>
#include <concepts>

#include "base/check.h"
#include "base/types.h"

namespace menura {

// A value with bit n set.
constexpr u64 bit(unsigned n) { return u64{1} << n; }

// The n lowest bits set; n from 0 to 64.
constexpr u64 low_mask(unsigned n) { return n >= 64 ? ~u64{0} : bit(n) - 1; }

template <std::unsigned_integral T>
constexpr bool test_bit(T value, unsigned n) {
  return (value >> n) & 1;
}

// Bits high..low of value (inclusive, as data sheets write them), moved to bit 0.
template <std::unsigned_integral T>
constexpr T bits(T value, unsigned high, unsigned low) {
  expect(high >= low && high < sizeof(T) * 8, "bits: range");
  return static_cast<T>((value >> low) & low_mask(high - low + 1));
}

// value with bits high..low replaced by field.
template <std::unsigned_integral T>
constexpr T with_bits(T value, unsigned high, unsigned low, u64 field) {
  const u64 mask = low_mask(high - low + 1) << low;
  return static_cast<T>((value & ~mask) | ((field << low) & mask));
}

// value's bits where mask is 0, fresh's where mask is 1: a register with read-only bits.
template <std::unsigned_integral T>
constexpr T merge(T value, T fresh, T mask) {
  return static_cast<T>((value & ~mask) | (fresh & mask));
}

template <std::unsigned_integral T>
constexpr bool is_power_of_two(T value) {
  return std::has_single_bit(value);
}

// alignment is a power of two. align_up wraps to 0 past the top, as the arithmetic does.
template <std::unsigned_integral T>
constexpr T align_down(T value, T alignment) {
  return static_cast<T>(value & ~(alignment - 1));
}
template <std::unsigned_integral T>
constexpr T align_up(T value, T alignment) {
  return align_down(static_cast<T>(value + alignment - 1), alignment);
}

// The sign of the lowest `width` bits (1 to 64) extended to 64 bits.
constexpr i64 sign_extend(u64 value, unsigned width) {
  const unsigned shift = 64 - width;
  return static_cast<i64>(value << shift) >> shift;
}

}  // namespace menura
