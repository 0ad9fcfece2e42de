#include "control/monitor/qmp_schema.h"

#include <map>

#include "base/text.h"

namespace menura {

namespace {

enum class Direction : u8 { Input, Output };

class Schema {
 public:
  void add(const Command& command) {
    Value entry = Value::object();
    entry.set("name", command.name);
    entry.set("meta-type", "command");
    entry.set("arg-type", type(command.arguments(), Direction::Input));
    entry.set("ret-type", type(command.reply(), Direction::Output));
    if (!command.features.empty()) {
      Value::List features;
      for (const std::string_view word : split(command.features, ' ')) features.emplace_back(word);
      entry.set("features", std::move(features));
    }
    entries_.push_back(std::move(entry));
  }

  void add(const EventKind& event) {
    Value entry = Value::object();
    entry.set("name", event.name);
    entry.set("meta-type", "event");
    entry.set("arg-type", type(event.data(), Direction::Output));
    entries_.push_back(std::move(entry));
  }

  Value take() { return std::move(entries_); }

 private:
  // The name of a type, which is entered when it is new. Equal types are one.
  std::string type(const Shape& shape, Direction direction) {
    switch (shape.kind) {
      case Shape::Kind::Any: return builtin("any", "value");
      case Shape::Kind::Boolean: return builtin("bool", "boolean");
      case Shape::Kind::Integer:
      case Shape::Kind::Size: return builtin("int", "int");
      case Shape::Kind::Number: return builtin("number", "number");
      case Shape::Kind::Text: return builtin("str", "string");
      case Shape::Kind::List: return list(type(shape.element[0], direction));
      case Shape::Kind::Choice: return choice(shape.choices);
      case Shape::Kind::Object: return object(shape, direction);
    }
    unreachable();
  }

  std::string builtin(std::string_view name, std::string_view json_type) {
    Value entry = Value::object();
    entry.set("name", name);
    entry.set("meta-type", "builtin");
    entry.set("json-type", json_type);
    return enter(std::move(entry));
  }

  std::string list(const std::string& element) {
    Value entry = Value::object();
    entry.set("name", format("[{}]", element));
    entry.set("meta-type", "array");
    entry.set("element-type", element);
    return enter(std::move(entry));
  }

  std::string choice(const std::vector<std::string>& names) {
    Value::List values, members;
    for (const std::string& name : names) {
      values.emplace_back(name);
      Value member = Value::object();
      member.set("name", name);
      members.push_back(std::move(member));
    }
    Value entry = Value::object();
    entry.set("meta-type", "enum");
    entry.set("values", std::move(values));
    entry.set("members", std::move(members));
    return enter(std::move(entry));
  }

  std::string object(const Shape& shape, Direction direction) {
    Value::List members, variants;
    for (const Shape::Member& m : shape.members) {
      Value member = Value::object();
      member.set("name", m.name);
      member.set("type", type(m.shape, direction));
      if (direction == Direction::Input ? !m.required : m.optional) member.set("default", Value());
      members.push_back(std::move(member));
    }
    for (const Shape::Variant& v : shape.variants) {
      Value variant = Value::object();
      variant.set("case", v.choice);
      variant.set("type", type(v.shape, direction));
      variants.push_back(std::move(variant));
    }
    Value entry = Value::object();
    entry.set("meta-type", "object");
    entry.set("members", std::move(members));
    if (!shape.tag.empty()) {
      entry.set("tag", shape.tag);
      entry.set("variants", std::move(variants));
    }
    return enter(std::move(entry));
  }

  std::string enter(Value entry) {
    const auto [at, is_new] = names_.try_emplace(to_json(entry), "");
    if (!is_new) return at->second;
    if (!entry.find("name")) entry.set("name", format("{}", numbered_++));
    at->second = *entry.find("name")->as<std::string>();
    entries_.push_back(std::move(entry));
    return at->second;
  }

  Value::List entries_;
  std::map<std::string, std::string> names_;  // by the entry's text
  unsigned numbered_ = 0;
};

}  // namespace

Value schema(std::span<const Command> commands, std::span<const EventKind> events) {
  Schema schema;
  for (const Command& command : commands) schema.add(command);
  for (const EventKind& event : events) schema.add(event);
  return schema.take();
}

}  // namespace menura
