// Result<T>: a value or an Error; the way every host-side failure travels.
//
// Owner: base. Threads: values, no sharing. Error texts say what was tried, on what, and why, in
// sentence case without a full stop; each TRY may add the context above it.
// Example: `UniqueFd fd = TRY(open_file(path), "Opening image {}", path);`
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/format.h"

namespace menura {

enum class Errc {
  InvalidArgument,  // the caller or user asked for something malformed
  NotFound,
  Exists,
  Permission,
  Busy,         // held by somebody else, may succeed later
  Unsupported,  // known, but this build or host cannot do it
  OutOfRange,
  Corrupt,  // an image, stream or table breaks its own format
  Io,       // the host's I/O failed
  NoSpace,
  NoMemory,
  Cancelled,
  Timeout,
  Internal,
};

struct Error {
  Errc code = Errc::Internal;
  std::string text;
  int os_errno = 0;  // the errno behind it, 0 when there is none

  // "context: text", same code.
  Error within(std::string_view context) && {
    text.insert(0, ": ");
    text.insert(0, context);
    return std::move(*this);
  }
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit
  template <class U>
  requires(std::is_convertible_v<U, T> && !std::is_same_v<std::remove_cvref_t<U>, T> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error> &&
           !std::is_same_v<std::remove_cvref_t<U>, Result>) Result(U&& value)
      : content_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

  explicit operator bool() const { return content_.index() == 0; }
  bool ok() const { return content_.index() == 0; }
  T& value() & {
    ensure(ok(), "value() of a failed Result");
    return *std::get_if<0>(&content_);
  }
  const T& value() const& {
    ensure(ok(), "value() of a failed Result");
    return *std::get_if<0>(&content_);
  }
  T value() && {
    ensure(ok(), "value() of a failed Result");
    return std::move(*std::get_if<0>(&content_));
  }
  Error& error() & {
    ensure(!ok(), "error() of a good Result");
    return *std::get_if<1>(&content_);
  }
  const Error& error() const& {
    ensure(!ok(), "error() of a good Result");
    return *std::get_if<1>(&content_);
  }
  T value_or(T fallback) && { return ok() ? std::move(*this).value() : std::move(fallback); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> content_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

  explicit operator bool() const { return !error_; }
  bool ok() const { return !error_; }
  void value() const { ensure(ok(), "value() of a failed Result"); }
  Error& error() {
    ensure(!ok(), "error() of a good Result");
    return *error_;
  }
  const Error& error() const {
    ensure(!ok(), "error() of a good Result");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

template <class... Args>
Error fail(Errc code, fmt::format_string<Args...> pattern, Args&&... args) {
  return Error{code, fmt::vformat(pattern, fmt::make_format_args(args...))};
}

// An Error from an errno value: "text: Permission denied".
Error os_error(int os_errno, std::string text);
template <class... Args>
Error fail_errno(int os_errno, fmt::format_string<Args...> pattern, Args&&... args) {
  return os_error(os_errno, fmt::vformat(pattern, fmt::make_format_args(args...)));
}

namespace detail {
inline Error wrap(Error&& error) { return std::move(error); }
template <class... Args>
Error wrap(Error&& error, fmt::format_string<Args...> pattern, Args&&... args) {
  return std::move(error).within(fmt::vformat(pattern, fmt::make_format_args(args...)));
}
}  // namespace detail

}  // namespace menura

// Yields the value or returns the error, with optional context in front. (A GNU statement
// expression: the only form that can both yield a value and return, see docs/decisions.)
#define TRY(expression, ...)                                                                      \
  __extension__({                                                                                 \
    auto menura_result = (expression);                                                            \
    if (!menura_result) [[unlikely]]                                                              \
      return ::menura::detail::wrap(std::move(menura_result.error()) __VA_OPT__(, ) __VA_ARGS__); \
    std::move(menura_result).value();                                                             \
  })
