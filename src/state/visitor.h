// StateVisitor: a device's whole state, named once. Saving, loading, printing, JSON, comparison and
// reset tests all derive from one describe() method.
//
// Owner: state. Threads: none; the caller holds the machine lock (or owns the object).
// Fields are named and their order is irrelevant. A field that an older stream lacks is announced
// by since(version) and keeps its present value (the reset default) when loading from before it.
// Example:
//   void Pit::describe(StateVisitor& v) {
//     v.field("counters", counters_);
//     v.since(2).field("gate", gate_);
//   }
#pragma once

#include <array>
#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/enumerators.h"
#include "base/result.h"
#include "base/types.h"

namespace menura {

class StateVisitor;

// A type that describes itself.
template <class T>
concept Described = requires(T& object, StateVisitor& visitor) {
  object.describe(visitor);
};

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;

  // Integers, enums, bool, std::string, byte arrays and vectors, arrays, vectors and optionals of
  // these, and everything with a describe().
  template <class T>
  void field(std::string_view name, T& value);

  // The next field exists since this version of the enclosing section.
  StateVisitor& since(unsigned version) {
    since_ = version;
    return *this;
  }

  // True while values are being replaced by a stream's: for describe() methods that must prepare.
  virtual bool loading() const = 0;

  // A value that the stream may not have (out of its range). The first failure is kept.
  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }
  Result<void> status() const {
    if (error_) return Error(*error_);
    return {};
  }

 protected:
  // Each names one member of the struct (or, in a list, is called with an empty name).
  virtual void integer(std::string_view name, u64& value, unsigned width_bits, bool is_signed) = 0;
  virtual void boolean(std::string_view name, bool& value) = 0;
  virtual void text(std::string_view name, std::string& value) = 0;
  virtual void bytes(std::string_view name, std::vector<std::byte>& value) = 0;
  // False: the member is absent, skip it. begin_list may change the length when loading.
  virtual bool begin_struct(std::string_view name) = 0;
  virtual void end_struct() = 0;
  virtual bool begin_list(std::string_view name, size_t& length) = 0;
  virtual void end_list() = 0;
  // Whether the section's version lacks a field that exists since `version`.
  virtual bool older_than(unsigned version) const = 0;

 private:
  template <class T>
  void visit(std::string_view name, T& value);
  template <class T>
  void visit_bytes(std::string_view name, T& container, bool resizable);
  template <class T>
  void visit_list(std::string_view name, T& container, bool resizable);

  unsigned since_ = 0;
  std::optional<Error> error_;
};

namespace detail {
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_array : std::is_array<T> {};
template <class T, size_t N>
struct is_array<std::array<T, N>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
inline constexpr bool is_byte_like = std::is_same_v<T, std::byte> || std::is_same_v<T, u8>;
}  // namespace detail

template <class T>
void StateVisitor::field(std::string_view name, T& value) {
  const unsigned version = std::exchange(since_, 0);
  if (version != 0 && older_than(version)) return;
  visit(name, value);
}

template <class T>
void StateVisitor::visit(std::string_view name, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    boolean(name, value);
  } else if constexpr (std::is_integral_v<T>) {
    u64 wide = static_cast<u64>(value);
    integer(name, wide, sizeof(T) * 8, std::is_signed_v<T>);
    value = static_cast<T>(wide);
  } else if constexpr (std::is_enum_v<T>) {
    auto number = static_cast<std::underlying_type_t<T>>(value);
    visit(name, number);
    if (!is_enumerator<T>(number))
      return fail(menura::fail(Errc::Corrupt, "Saved '{}' = {} is none of its values", name,
                               static_cast<i64>(number)));
    value = static_cast<T>(number);
  } else if constexpr (std::is_same_v<T, std::string>) {
    text(name, value);
  } else if constexpr (Described<T>) {
    if (!begin_struct(name)) return;
    value.describe(*this);
    end_struct();
  } else if constexpr (detail::is_optional<T>::value) {
    size_t length = value ? 1 : 0;
    if (!begin_list(name, length)) return;
    if (length > 1) fail(menura::fail(Errc::Corrupt, "'{}' holds more than one value", name));
    if (length == 0)
      value.reset();
    else if (!value)
      value.emplace();
    if (value && length > 0) visit("", *value);
    end_list();
  } else if constexpr (detail::is_vector<T>::value) {
    if constexpr (detail::is_byte_like<typename T::value_type>)
      visit_bytes(name, value, true);
    else
      visit_list(name, value, true);
  } else {
    static_assert(detail::is_array<T>::value, "this type needs a describe(StateVisitor&)");
    if constexpr (detail::is_byte_like<std::remove_cvref_t<decltype(value[0])>>)
      visit_bytes(name, value, false);
    else
      visit_list(name, value, false);
  }
}

template <class T>
void StateVisitor::visit_bytes(std::string_view name, T& container, bool resizable) {
  const ConstBytes now = std::as_bytes(std::span(container));
  std::vector<std::byte> content(now.begin(), now.end());
  bytes(name, content);
  if (!loading()) return;
  if constexpr (requires { container.resize(size_t{}); }) container.resize(content.size());
  if (!resizable && content.size() != std::size(container))
    return fail(menura::fail(Errc::Corrupt, "'{}' holds {} bytes, expected {}", name,
                             content.size(), std::size(container)));
  if (!content.empty())
    std::copy(content.begin(), content.end(), std::as_writable_bytes(std::span(container)).begin());
}

template <class T>
void StateVisitor::visit_list(std::string_view name, T& container, bool resizable) {
  size_t length = std::size(container);
  if (!begin_list(name, length)) return;
  if constexpr (requires { container.resize(size_t{}); }) container.resize(length);
  if (!resizable && length != std::size(container)) {
    fail(menura::fail(Errc::Corrupt, "'{}' holds {} values, expected {}", name, length,
                      std::size(container)));
  } else {
    for (auto& element : container) visit("", element);
  }
  end_list();
}

}  // namespace menura
