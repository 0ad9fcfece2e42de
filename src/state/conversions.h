// Conversions between a user's Value and the types that a property may have.
//
// Owner: state; used through properties.h. Threads: pure functions. Errors say what was expected.
// Example: `Size size = TRY(detail::convert<Size>(value));`
#pragma once

#include <concepts>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "state/shape.h"
#include "state/value.h"

namespace menura {

// A byte count that users write with units ("512M").
struct Size {
  u64 bytes = 0;
  bool operator==(const Size&) const = default;
};

class PropertyVisitor;

// A struct with properties of its own.
template <class T>
concept HasProperties = std::is_class_v<T> && requires(T& value, PropertyVisitor& p) {
  value.describe(p);
};

// An enum that a property reads by name declares, beside it:
//   std::span<const std::string_view> enum_names(MyEnum);   // in the order of its values from 0
template <class T>
concept NamedEnum = std::is_enum_v<T> && requires(T value) {
  { enum_names(value) } -> std::convertible_to<std::span<const std::string_view>>;
};

namespace detail {

// Conversions between a Value and a typed member; each error says what was expected.
Result<bool> to_bool(const Value& value);
Result<i64> to_signed(const Value& value, i64 low, i64 high);
Result<u64> to_unsigned(const Value& value, u64 high);
Result<u64> to_size(const Value& value);
Result<double> to_real(const Value& value);
Result<std::string> to_text(const Value& value);
Result<size_t> to_enum(const Value& value, std::span<const std::string_view> names);

template <class T>
struct Converter;

template <class T>
Result<T> convert(const Value& value) {
  return Converter<T>::from(value);
}

template <>
struct Converter<bool> {
  static Result<bool> from(const Value& v) { return to_bool(v); }
  static Value to(bool v) { return v; }
  static std::string name() { return "bool"; }
  static Shape shape() { return {.kind = Shape::Kind::Boolean}; }
};
template <std::integral T>
struct Converter<T> {
  static Result<T> from(const Value& v) {
    if constexpr (std::is_signed_v<T>)
      return static_cast<T>(
          TRY(to_signed(v, std::numeric_limits<T>::min(), std::numeric_limits<T>::max())));
    else
      return static_cast<T>(TRY(to_unsigned(v, std::numeric_limits<T>::max())));
  }
  static Value to(T v) {
    if constexpr (std::is_signed_v<T>)
      return static_cast<i64>(v);
    else
      return static_cast<u64>(v);
  }
  static std::string name() {
    return format("{}{}", std::is_signed_v<T> ? "int" : "uint", 8 * sizeof(T));
  }
  static Shape shape() { return {.kind = Shape::Kind::Integer}; }
};
template <>
struct Converter<Size> {
  static Result<Size> from(const Value& v) { return Size{TRY(to_size(v))}; }
  static Value to(Size v) { return v.bytes; }
  static std::string name() { return "size"; }
  static Shape shape() { return {.kind = Shape::Kind::Size}; }
};
template <>
struct Converter<double> {
  static Result<double> from(const Value& v) { return to_real(v); }
  static Value to(double v) { return v; }
  static std::string name() { return "number"; }
  static Shape shape() { return {.kind = Shape::Kind::Number}; }
};
template <>
struct Converter<std::string> {
  static Result<std::string> from(const Value& v) { return to_text(v); }
  static Value to(const std::string& v) { return v; }
  static std::string name() { return "str"; }
  static Shape shape() { return {.kind = Shape::Kind::Text}; }
};
template <>
struct Converter<Value> {
  static Result<Value> from(const Value& v) { return v; }
  static Value to(const Value& v) { return v; }
  static std::string name() { return "any"; }
  static Shape shape() { return {.kind = Shape::Kind::Any}; }
};
template <NamedEnum T>
struct Converter<T> {
  static Result<T> from(const Value& v) { return static_cast<T>(TRY(to_enum(v, enum_names(T{})))); }
  static Value to(T v) { return enum_names(v)[static_cast<size_t>(v)]; }
  static std::string name() {
    std::string joined;
    for (const std::string_view n : enum_names(T{}))
      joined.append(joined.empty() ? "" : "|").append(n);
    return joined;
  }
  static Shape shape() {
    const std::span<const std::string_view> names = enum_names(T{});
    return {.kind = Shape::Kind::Choice, .choices = {names.begin(), names.end()}};
  }
};
template <class T>
struct Converter<std::optional<T>> {
  static Result<std::optional<T>> from(const Value& v) {
    return std::optional<T>(TRY(convert<T>(v)));
  }
  static Value to(const std::optional<T>& v) { return v ? Converter<T>::to(*v) : Value(); }
  static std::string name() { return Converter<T>::name(); }
  static Shape shape() { return Converter<T>::shape(); }
};
template <class T>
struct Converter<std::vector<T>> {
  static Result<std::vector<T>> from(const Value& v) {
    std::vector<T> elements;
    const Value::List* list = v.as<Value::List>();
    if (!list) {  // a single value counts as a list of one
      elements.push_back(TRY(convert<T>(v)));
      return elements;
    }
    for (const Value& element : *list) elements.push_back(TRY(convert<T>(element)));
    return elements;
  }
  static Value to(const std::vector<T>& v) {
    Value::List list;
    for (const T& element : v) list.push_back(Converter<T>::to(element));
    return list;
  }
  static std::string name() { return "list of " + Converter<T>::name(); }
  static Shape shape() { return {.kind = Shape::Kind::List, .element = {Converter<T>::shape()}}; }
};

template <class T>
inline constexpr bool is_optional_value = false;
template <class T>
inline constexpr bool is_optional_value<std::optional<T>> = true;

std::string print_value(const Value& value);

}  // namespace detail

}  // namespace menura
