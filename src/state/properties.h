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

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "state/conversions.h"
#include "state/value.h"

namespace menura {

class PropertyVisitor {
 public:
  virtual ~PropertyVisitor() = default;

  // bool, integers, Size, double, std::string, named enums, Value (anything), structs with a
  // describe(), std::optional of these (absent allowed to stay), and std::vector of these.
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
    bool optional = false;
    Shape (*shape)() = nullptr;
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

template <class T>
void PropertyVisitor::field(std::string_view name, T& value, std::string_view help) {
  const bool required = std::exchange(required_, false);
  if constexpr (!HasProperties<T>) {
    const Type type{detail::Converter<T>::name(),
                    detail::print_value(detail::Converter<T>::to(value)), required,
                    detail::is_optional_value<T>, detail::Converter<T>::shape};
    const Value* given = next(name, type, help);
    if (!reading()) return store(name, detail::Converter<T>::to(value));
    if (!given) return;
    Result<T> converted = detail::convert<T>(*given);
    if (!converted) return problem(name, std::move(converted.error()));
    value = std::move(converted).value();
  } else {
    const Value* given =
        next(name, {"object", "", required, false, detail::Converter<T>::shape}, help);
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
// The same as a plain function, for rows of tables.
template <class T>
std::vector<PropertyInfo> properties_of() {
  return list_properties<T>();
}
template <class T>
Value write_properties(T config) {
  PropertyWriter writer;
  config.describe(writer);
  return std::move(writer.object);
}

// The members as a type.
class PropertyShaper final : public PropertyVisitor {
 public:
  Shape shape{.kind = Shape::Kind::Object};

 protected:
  const Value* next(std::string_view name, const Type& type, std::string_view help) override;
  void store(std::string_view, Value) override {}
  bool reading() const override { return true; }
  void problem(std::string_view, Error) override {}
  void nested(std::string_view, std::string_view, const Value*,
              const std::function<void(PropertyVisitor&)>&) override {}
};

// Of a struct with properties, or anything else that may be one.
template <class T>
Shape shape_of() {
  return detail::Converter<T>::shape();
}

namespace detail {
template <HasProperties T>
struct Converter<T> {
  static Result<T> from(const Value& v) {
    T object;
    TRY(read_properties(object, v, {}));
    return object;
  }
  static Value to(const T& v) { return write_properties(v); }
  static std::string name() { return "object"; }
  static Shape shape() {
    T object;
    PropertyShaper shaper;
    object.describe(shaper);
    return std::move(shaper.shape);
  }
};
}  // namespace detail

// "  name=<type>  - help (default: x)" lines, aligned.
std::string print_properties(const std::vector<PropertyInfo>& properties);

}  // namespace menura
