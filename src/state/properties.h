// Properties: a configuration struct names its members once, with a line of help; reading a user's
// Value into it, listing it for "help", and writing it back all derive from that.
//
// Owner: state. Threads: values. Every unknown key, wrong type or bad value is an Error that names
// the key, what was expected, and the nearest known name. Example:
//   struct SerialConfig {
//     std::string chardev;  u16 iobase = 0x3f8;
//     void describe(PropertyVisitor& p) {
//       p.field("chardev", chardev, "what is connected to the port");
//       p.field("iobase", iobase, "first I/O port");
//     }
//   };
//   SerialConfig config;  TRY(read_properties(config, value, "isa-serial"));
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "state/value.h"

namespace menura {

// A byte count that users write with units ("512M").
struct Size {
  u64 bytes = 0;
  bool operator==(const Size&) const = default;
};

// An enum that a property reads by name declares, beside it:
//   std::span<const std::string_view> enum_names(MyEnum);   // in the order of its values from 0
template <class T>
concept NamedEnum = std::is_enum_v<T> && requires(T value) {
  { enum_names(value) } -> std::convertible_to<std::span<const std::string_view>>;
};

class PropertyVisitor {
 public:
  virtual ~PropertyVisitor() = default;

  // bool, integers, Size, double, std::string, named enums, Value (anything), std::optional of
  // these (absent allowed to stay), std::vector of these, and structs with a describe().
  template <class T>
  void field(std::string_view name, T& value, std::string_view help = {});
  // As field(), but the user must give it.
  template <class T>
  void required(std::string_view name, T& value, std::string_view help = {}) {
    required_ = true;
    field(name, value, help);
  }

 protected:
  struct Type {
    std::string name;   // "bool", "uint16", "size", "str", "on|off|auto"
    std::string value;  // the present value, printed
    bool required = false;
  };
  // The user's value for this member, or null to leave it; type describes it.
  virtual const Value* next(std::string_view name, const Type& type, std::string_view help) = 0;
  virtual void store(std::string_view name, Value value) = 0;
  virtual bool reading() const = 0;
  virtual void problem(std::string_view name, Error error) = 0;
  virtual void nested(std::string_view name, std::string_view help, const Value* value,
                      const std::function<void(PropertyVisitor&)>& describe) = 0;

 private:
  template <class T>
  static Type type_of(const T& value);
  bool required_ = false;
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
};
template <>
struct Converter<Size> {
  static Result<Size> from(const Value& v) { return Size{TRY(to_size(v))}; }
  static Value to(Size v) { return v.bytes; }
  static std::string name() { return "size"; }
};
template <>
struct Converter<double> {
  static Result<double> from(const Value& v) { return to_real(v); }
  static Value to(double v) { return v; }
  static std::string name() { return "number"; }
};
template <>
struct Converter<std::string> {
  static Result<std::string> from(const Value& v) { return to_text(v); }
  static Value to(const std::string& v) { return v; }
  static std::string name() { return "str"; }
};
template <>
struct Converter<Value> {
  static Result<Value> from(const Value& v) { return v; }
  static Value to(const Value& v) { return v; }
  static std::string name() { return "any"; }
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
};
template <class T>
struct Converter<std::optional<T>> {
  static Result<std::optional<T>> from(const Value& v) {
    return std::optional<T>(TRY(convert<T>(v)));
  }
  static Value to(const std::optional<T>& v) { return v ? Converter<T>::to(*v) : Value(); }
  static std::string name() { return Converter<T>::name(); }
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
};

template <class T>
concept Convertible = requires {
  Converter<T>::name();
};

std::string print_value(const Value& value);

}  // namespace detail

template <class T>
void PropertyVisitor::field(std::string_view name, T& value, std::string_view help) {
  const bool required = std::exchange(required_, false);
  if constexpr (detail::Convertible<T>) {
    const Type type{detail::Converter<T>::name(),
                    detail::print_value(detail::Converter<T>::to(value)), required};
    const Value* given = next(name, type, help);
    if (!reading()) return store(name, detail::Converter<T>::to(value));
    if (!given) return;
    Result<T> converted = detail::convert<T>(*given);
    if (!converted) return problem(name, std::move(converted.error()));
    value = std::move(converted).value();
  } else {
    const Value* given = next(name, {"object", "", required}, help);
    nested(name, help, given, [&](PropertyVisitor& inner) { value.describe(inner); });
  }
}

// Fills config from a user's object; `what` names it in errors ("device 'e1000'"). Nothing may be
// left over.
class PropertyReader final : public PropertyVisitor {
 public:
  explicit PropertyReader(const Value& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}
  // After describe(): the first problem, or an unknown key.
  Result<void> finish(std::string_view what);

 protected:
  const Value* next(std::string_view name, const Type& type, std::string_view help) override;
  void store(std::string_view, Value) override {}
  bool reading() const override { return true; }
  void problem(std::string_view name, Error error) override;
  void nested(std::string_view name, std::string_view help, const Value* value,
              const std::function<void(PropertyVisitor&)>& describe) override;

 private:
  const Value& object_;
  std::string prefix_;
  std::vector<std::string_view> known_;
  std::optional<Error> error_;
};

// Collects names, types, defaults and help lines.
struct PropertyInfo {
  std::string name;
  std::string type;
  std::string default_value;
  std::string help;
  bool required = false;
};
class PropertyLister final : public PropertyVisitor {
 public:
  explicit PropertyLister(std::string prefix = {}) : prefix_(std::move(prefix)) {}
  std::vector<PropertyInfo> properties;

 protected:
  const Value* next(std::string_view name, const Type& type, std::string_view help) override;
  void store(std::string_view, Value) override {}
  bool reading() const override { return true; }
  void problem(std::string_view, Error) override {}
  void nested(std::string_view name, std::string_view help, const Value* value,
              const std::function<void(PropertyVisitor&)>& describe) override;

 private:
  std::string prefix_;
};

// The members as an object.
class PropertyWriter final : public PropertyVisitor {
 public:
  Value object = Value::object();

 protected:
  const Value* next(std::string_view, const Type&, std::string_view) override { return nullptr; }
  void store(std::string_view name, Value value) override;
  bool reading() const override { return false; }
  void problem(std::string_view, Error) override {}
  void nested(std::string_view name, std::string_view help, const Value* value,
              const std::function<void(PropertyVisitor&)>& describe) override;
};

template <class T>
Result<void> read_properties(T& config, const Value& object, std::string_view what) {
  PropertyReader reader(object);
  config.describe(reader);
  return reader.finish(what);
}
template <class T>
std::vector<PropertyInfo> list_properties(T config = {}) {
  PropertyLister lister;
  config.describe(lister);
  return std::move(lister.properties);
}
template <class T>
Value write_properties(T config) {
  PropertyWriter writer;
  config.describe(writer);
  return std::move(writer.object);
}

// "  name=<type>  - help (default: x)" lines, aligned.
std::string print_properties(const std::vector<PropertyInfo>& properties);

}  // namespace menura
