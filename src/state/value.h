// Value: what a user or client gave as configuration, before it has a type: JSON's shapes, where
// text from a command line stays text until a property reads it as a number, a size or a switch.
//
// Owner: state. Threads: values. Example:
//   Value v = TRY(parse_keyval("e1000,mac=52:54:00:12:34:56,netdev=n0", "driver"));
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class Value {
 public:
  using List = std::vector<Value>;
  using Object = std::vector<std::pair<std::string, Value>>;  // in the order given, keys unique

  Value() = default;                                       // null
  Value(bool v) : content_(v) {}                           // NOLINT: implicit
  Value(i64 v) : content_(v) {}                            // NOLINT
  Value(u64 v) : content_(v) {}                            // NOLINT
  Value(int v) : content_(i64{v}) {}                       // NOLINT
  Value(u32 v) : content_(u64{v}) {}                       // NOLINT
  Value(double v) : content_(v) {}                         // NOLINT
  Value(std::string v) : content_(std::move(v)) {}         // NOLINT
  Value(std::string_view v) : content_(std::string(v)) {}  // NOLINT
  Value(const char* v) : content_(std::string(v)) {}       // NOLINT
  Value(List v) : content_(std::move(v)) {}                // NOLINT
  Value(Object v) : content_(std::move(v)) {}              // NOLINT
  static Value object() { return Value(Object{}); }
  static Value list() { return Value(List{}); }

  template <class T>
  const T* as() const {
    return std::get_if<T>(&content_);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&content_);
  }
  bool is_null() const { return std::holds_alternative<std::monostate>(content_); }

  // Objects: the member, or null when absent (or when this is no object).
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  // Sets or replaces a member; this must be an object.
  void set(std::string_view key, Value value);
  bool erase(std::string_view key);

  // "a string", "an object": for error texts.
  std::string_view kind_name() const;
  bool operator==(const Value&) const = default;

 private:
  std::variant<std::monostate, bool, i64, u64, double, std::string, List, Object> content_;
};

// QEMU's key=value grammar: "a=b,c.d=e,f" with ",," for a comma inside a value. A first word
// without '=' is the value of implied_key (when given); other bare words are switches: "f" means
// f=on, "nof" means f=off. Dotted keys nest; keys 0, 1, ... make lists. Later keys replace earlier.
Result<Value> parse_keyval(std::string_view text, std::string_view implied_key = {});

// An object whose keys may be dotted, at any depth, as the object they spell: {"a.b": 1} becomes
// {"a": {"b": 1}}; keys 0, 1, ... make lists.
Result<Value> expand_dots(Value object);

// JSON text, compact; and back (numbers without fraction become i64, or u64 when large).
std::string to_json(const Value& value);
Result<Value> parse_json(std::string_view text);

}  // namespace menura
