// Command: a row of the table of QMP commands, made from a function: its argument and reply types
// name their members in describe(), and from that come parsing, error texts, help and the schema.
//
// Owner: control/monitor (constant). Threads: under the machine lock. Example:
//   struct Hold { u32 ms = 100;  void describe(PropertyVisitor& p) { p.field("ms", ms, "how long"); } };
//   Result<Nothing> hold(MonitorTarget& target, const Hold& arguments);
//   constexpr Command kCommands[] = {command<&hold>("hold", "Hold the key")};
#pragma once

#include <string_view>
#include <vector>

#include "control/monitor/monitor_target.h"
#include "state/properties.h"

namespace menura {

struct Nothing {
  void describe(PropertyVisitor&) {}
};

// Arguments whose members depend on one another read themselves, and tell their shape:
//   static Result<T> read(const Value& given);  static Shape shape();
template <class T>
concept ReadsItself = requires(const Value& given) {
  { T::read(given) } -> std::same_as<Result<T>>;
  { T::shape() } -> std::same_as<Shape>;
};

struct Command {
  std::string_view name;
  std::string_view help;
  Shape (*arguments)();
  Shape (*reply)();
  Result<Value> (*run)(MonitorTarget& target, const Value& arguments);
  // What the schema says beside the types, separated by spaces.
  std::string_view features = {};

  constexpr Command with_features(std::string_view words) const {
    Command changed = *this;
    changed.features = words;
    return changed;
  }
};

namespace detail {

template <class Function>
struct CommandTypes;
template <class R, class A>
struct CommandTypes<Result<R> (*)(MonitorTarget&, const A&)> {
  using Reply = R;
  using Arguments = A;
};

template <class Arguments>
Result<Arguments> read_arguments(const Value& given) {
  if constexpr (ReadsItself<Arguments>) {
    return Arguments::read(given);
  } else {
    Arguments arguments;
    TRY(read_properties(arguments, given, "arguments"));
    return arguments;
  }
}

template <class Arguments>
Shape arguments_shape() {
  if constexpr (ReadsItself<Arguments>)
    return Arguments::shape();
  else
    return shape_of<Arguments>();
}

}  // namespace detail

template <auto function>
constexpr Command command(std::string_view name, std::string_view help) {
  using Types = detail::CommandTypes<decltype(function)>;
  return {name, help, detail::arguments_shape<typename Types::Arguments>,
          shape_of<typename Types::Reply>,
          [](MonitorTarget& target, const Value& given) -> Result<Value> {
            const auto arguments = TRY(detail::read_arguments<typename Types::Arguments>(given));
            return detail::Converter<typename Types::Reply>::to(TRY(function(target, arguments)));
          }};
}

// All QMP commands, by group.
std::span<const Command> qmp_commands();
// Null when there is none.
const Command* find_qmp_command(std::string_view name);

}  // namespace menura
