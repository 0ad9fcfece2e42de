// The QMP schema: every command, event and type, derived from the tables of commands and events.
//
// Owner: control/monitor. Threads: under the machine lock. Source: QEMU's docs/devel/qapi-code-gen,
// "Client JSON Protocol introspection". As there, objects and choices have numbers for names: a
// client follows the references. Example: `Value list = schema(qmp_commands(), qmp_events());`
#pragma once

#include <span>

#include "control/monitor/command.h"

namespace menura {

// A row of the table of events (qmp_events.cpp).
struct EventKind {
  std::string_view name;
  std::string_view help;
  Shape (*data)();
};
std::span<const EventKind> qmp_events();

Value schema(std::span<const Command> commands, std::span<const EventKind> events);

}  // namespace menura
