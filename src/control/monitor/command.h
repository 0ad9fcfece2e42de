// Command: a row of the table of QMP commands, made from a function: its argument and reply types
// name their members in describe(), and from that come parsing, error texts and help.
//
// Owner: control/monitor (constant). Threads: under the machine lock. Example:
//   struct Hold { u32 ms = 100;  void describe(PropertyVisitor& p) { p.field("ms", ms, "how long"); } };
//   Result<Nothing> hold(MonitorTarget& target, const Hold& arguments);
//   constexpr Command kCommands[] = {command<&hold>("hold", "Hold the key")};
#pragma once

#include <string_view>
#include <type_traits>
#include <vector>

#include "control/monitor/monitor_target.h"
#include "state/properties.h"

namespace menura {

struct Nothing {
  void describe(PropertyVisitor&) {}
};

struct Command {
  std::string_view name;
  std::string_view help;
  std::vector<PropertyInfo> (*arguments)();
  Result<Value> (*run)(MonitorTarget& target, const Value& arguments);
};

namespace detail {

// A reply as JSON: members that are not there are left out.
template <class T>
Value reply_value(T reply) {
  if constexpr (std::is_same_v<T, Value>) {
    return reply;
  } else {
    Value all = write_properties(std::move(reply));
    Value present = Value::object();
    for (auto& [name, member] : *all.template as<Value::Object>())
      if (!member.is_null()) present.set(name, std::move(member));
    return present;
  }
}
template <class T>
Value reply_value(std::vector<T> reply) {
  Value::List list;
  for (T& element : reply) list.push_back(reply_value(std::move(element)));
  return list;
}

template <class Function>
struct CommandTypes;
template <class R, class A>
struct CommandTypes<Result<R> (*)(MonitorTarget&, const A&)> {
  using Arguments = A;
};

}  // namespace detail

template <auto function>
constexpr Command command(std::string_view name, std::string_view help) {
  using Arguments = typename detail::CommandTypes<decltype(function)>::Arguments;
  return {name, help, [] { return list_properties(Arguments{}); },
          [](MonitorTarget& target, const Value& given) -> Result<Value> {
            Arguments arguments;
            TRY(read_properties(arguments, given, "arguments"));
            return detail::reply_value(TRY(function(target, arguments)));
          }};
}

// All QMP commands, by group.
std::span<const Command> qmp_commands();
// Null when there is none.
const Command* find_qmp_command(std::string_view name);

}  // namespace menura
