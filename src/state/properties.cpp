#include "state/properties.h"

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "base/units.h"

namespace menura {

namespace detail {

namespace {

Error expected(std::string_view what, const Value& value) {
  return fail(Errc::InvalidArgument, "expected {}, not {}", what,
              value.as<std::string>() ? "'" + *value.as<std::string>() + "'"
                                      : std::string(value.kind_name()));
}

}  // namespace

Result<bool> to_bool(const Value& value) {
  if (const bool* b = value.as<bool>()) return *b;
  if (const std::string* s = value.as<std::string>()) {
    for (const std::string_view yes : {"on", "yes", "true", "y"})
      if (*s == yes) return true;
    for (const std::string_view no : {"off", "no", "false", "n"})
      if (*s == no) return false;
  }
  return expected("on or off", value);
}

Result<u64> to_unsigned(const Value& value, u64 high) {
  u64 number = 0;
  if (const u64* u = value.as<u64>()) {
    number = *u;
  } else if (const i64* i = value.as<i64>(); i && *i >= 0) {
    number = static_cast<u64>(*i);
  } else if (const std::string* s = value.as<std::string>()) {
    const Result<u64> parsed = parse_u64(*s);
    if (!parsed) return expected(format("a number from 0 to {}", high), value);
    number = *parsed;
  } else {
    return expected(format("a number from 0 to {}", high), value);
  }
  if (number > high)
    return fail(Errc::OutOfRange, "expected a number from 0 to {}, not {}", high, number);
  return number;
}

Result<i64> to_signed(const Value& value, i64 low, i64 high) {
  const std::string* s = value.as<std::string>();
  const i64* i = value.as<i64>();
  i64 number = 0;
  if (i) {
    number = *i;
  } else if (s && s->starts_with('-')) {
    const Result<u64> parsed = parse_u64(std::string_view(*s).substr(1));
    if (!parsed || *parsed > u64{1} << 63)
      return expected(format("a number from {} to {}", low, high), value);
    number = static_cast<i64>(-*parsed);
  } else {
    number = static_cast<i64>(TRY(to_unsigned(value, static_cast<u64>(high))));
  }
  if (number < low || number > high)
    return fail(Errc::OutOfRange, "expected a number from {} to {}, not {}", low, high, number);
  return number;
}

Result<u64> to_size(const Value& value) {
  if (const std::string* s = value.as<std::string>()) return parse_size(*s);
  return to_unsigned(value, std::numeric_limits<i64>::max());
}

Result<double> to_real(const Value& value) {
  if (const double* d = value.as<double>()) return *d;
  if (const i64* i = value.as<i64>()) return static_cast<double>(*i);
  if (const u64* u = value.as<u64>()) return static_cast<double>(*u);
  if (const std::string* s = value.as<std::string>()) {
    char* end = nullptr;
    const double number = std::strtod(s->c_str(), &end);
    if (!s->empty() && *end == '\0') return number;
  }
  return expected("a number", value);
}

Result<std::string> to_text(const Value& value) {
  if (const std::string* s = value.as<std::string>()) return *s;
  return expected("a string", value);
}

Result<size_t> to_enum(const Value& value, std::span<const std::string_view> names) {
  std::string given;
  if (const std::string* s = value.as<std::string>())
    given = *s;
  else if (const bool* b = value.as<bool>())
    given = *b ? "on" : "off";
  const auto at = std::ranges::find(names, given);
  if (at != names.end()) return static_cast<size_t>(at - names.begin());
  return fail(Errc::InvalidArgument, "expected one of {}, not '{}'{}", join(names, ", "), given,
              suggestion(given, names));
}

std::string print_value(const Value& value) {
  if (value.is_null()) return "";
  if (const std::string* s = value.as<std::string>()) return *s;
  if (const bool* b = value.as<bool>()) return *b ? "on" : "off";
  if (value.as<Value::List>() && value.as<Value::List>()->empty()) return "";
  return to_json(value);
}

}  // namespace detail

const Value* PropertyReader::next(std::string_view name, const Type& type, std::string_view) {
  known_.push_back(name);
  const Value* value = object_.find(name);
  if (!value && type.required)
    problem(name, menura::fail(Errc::InvalidArgument, "must be given ({})", type.name));
  return value;
}

void PropertyReader::problem(std::string_view name, Error error) {
  if (!error_) error_ = std::move(error).within(format("property '{}{}'", prefix_, name));
}

void PropertyReader::nested(std::string_view name, std::string_view, const Value* value,
                            const std::function<void(PropertyVisitor&)>& describe) {
  if (!value) return;
  PropertyReader inner(*value, format("{}{}.", prefix_, name));
  describe(inner);
  if (Result<void> done = inner.finish({}); !done && !error_) error_ = std::move(done.error());
}

Result<void> PropertyReader::finish(std::string_view what) {
  const auto in_context = [&](Error error) {
    return what.empty() ? error : std::move(error).within(what);
  };
  if (error_) return in_context(std::move(*error_));
  const Value::Object* members = object_.as<Value::Object>();
  if (!members)
    return in_context(
        menura::fail(Errc::InvalidArgument, "expected an object, not {}", object_.kind_name()));
  for (const auto& [key, value] : *members)
    if (std::ranges::find(known_, key) == known_.end())
      return in_context(menura::fail(Errc::InvalidArgument, "there is no property '{}{}'{}",
                                     prefix_, key, suggestion(key, known_)));
  return {};
}

const Value* PropertyLister::next(std::string_view name, const Type& type, std::string_view help) {
  // A struct's members are listed one by one, but not those of one that may be absent.
  if (type.name != "object" || type.optional)
    properties.push_back(
        {prefix_ + std::string(name), type.name, type.value, std::string(help), type.required});
  return nullptr;
}

void PropertyLister::nested(std::string_view name, std::string_view, const Value*,
                            const std::function<void(PropertyVisitor&)>& describe) {
  PropertyLister inner(format("{}{}.", prefix_, name));
  describe(inner);
  for (PropertyInfo& info : inner.properties) properties.push_back(std::move(info));
}

const Value* PropertyShaper::next(std::string_view name, const Type& type, std::string_view help) {
  shape.members.push_back({.name = std::string(name),
                           .help = std::string(help),
                           .shape = type.shape(),
                           .required = type.required,
                           .optional = type.optional});
  return nullptr;
}

void PropertyWriter::store(std::string_view name, Value value) {
  if (!value.is_null()) object.set(name, std::move(value));
}

void PropertyWriter::nested(std::string_view name, std::string_view, const Value*,
                            const std::function<void(PropertyVisitor&)>& describe) {
  PropertyWriter inner;
  describe(inner);
  object.set(name, std::move(inner.object));
}

std::string print_properties(const std::vector<PropertyInfo>& properties) {
  size_t width = 0;
  const auto head = [](const PropertyInfo& p) { return format("{}=<{}>", p.name, p.type); };
  for (const PropertyInfo& p : properties) width = std::max(width, head(p).size());
  width = std::min<size_t>(width, 40);
  std::string out;
  for (const PropertyInfo& p : properties) {
    out += format("  {:<{}}", head(p), width);
    if (!p.help.empty()) out += "  " + p.help;
    if (p.required)
      out += " (required)";
    else if (!p.default_value.empty())
      out += format(" (default: {})", p.default_value);
    out += '\n';
  }
  return out;
}

}  // namespace menura
