// Which values of an enum are its enumerators, as the compiler knows them, so that no table repeats
// them: a number from a file or a stream becomes an enum only if it means something.
//
// Owner: base. Threads: pure functions, at compile time. Numbers from -8 to 119 are known; an
// enumerator beyond is not found, so an enum of bits to combine is not for this.
// Example:
//   enum class Mode : u8 { Idle, Running, Broken = 7 };
//   is_enumerator<Mode>(7)  // true; of 3 false
#pragma once

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/types.h"

namespace menura {

namespace detail {

inline constexpr i64 kLowestEnumerator = -8;
inline constexpr size_t kEnumeratorRange = 128;

// The compiler spells an enumerator by its name, "Mode::Idle", and any other value "(Mode)2".
template <class E, E kValue>
constexpr bool is_spelt_by_name() {
  constexpr std::string_view kText = __PRETTY_FUNCTION__;
  const size_t cast = kText.find_last_of(')');
  return cast < kText.rfind("kValue = ") || kText[cast + 1] == ':';
}

template <class E, i64... kIndices>
constexpr auto find_enumerators(std::integer_sequence<i64, kIndices...>) {
  return std::array{is_spelt_by_name<E, static_cast<E>(kLowestEnumerator + kIndices)>()...};
}

template <class E>
inline constexpr std::array<bool, kEnumeratorRange> kEnumerators =
    find_enumerators<E>(std::make_integer_sequence<i64, kEnumeratorRange>{});

}  // namespace detail

template <class E>
constexpr bool is_enumerator(std::underlying_type_t<E> number) {
  static_assert(std::ranges::count(detail::kEnumerators<E>, true) > 0,
                "no enumerator from -8 to 119");
  const i64 index = static_cast<i64>(number) - detail::kLowestEnumerator;
  return index >= 0 && index < static_cast<i64>(detail::kEnumeratorRange) &&
         detail::kEnumerators<E>[static_cast<size_t>(index)];
}

}  // namespace menura
