// GuestAddr: an address in a guest's address space, which is not a host pointer nor a length.
//
// Owner: memory. Threads: a value. Arithmetic wraps at 2^64 as the bus does.
// Example: `GuestAddr at{0xfee0'0000}; at + 0x20; u64 n = at - other;`
#pragma once

#include <compare>

#include "base/types.h"

namespace menura {

struct GuestAddr {
  u64 value = 0;

  constexpr auto operator<=>(const GuestAddr&) const = default;
  friend constexpr GuestAddr operator+(GuestAddr a, u64 n) { return {a.value + n}; }
  friend constexpr GuestAddr operator-(GuestAddr a, u64 n) { return {a.value - n}; }
  friend constexpr u64 operator-(GuestAddr a, GuestAddr b) { return a.value - b.value; }
};

}  // namespace menura
