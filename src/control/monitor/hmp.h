// The monitor for people: command lines in words, answers as text (HMP).
//
// Owner: control/monitor. Threads: under the machine lock. Source: QEMU's monitor, for the commands'
// names and forms. Example: `std::string text = TRY(run_hmp(context, "info status"));`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/monitor/monitor_target.h"

namespace menura {

struct HmpContext {
  MonitorTarget& target;
  unsigned cpu = 0;  // that commands about one CPU refer to
  Result<void> select_cpu(u32 index);
  // The selected CPU's registers, whether it runs or not. Error: there is no CPU.
  Result<x86::State> registers() const;
};

using HmpWords = std::span<const std::string_view>;  // behind the command's name

struct HmpCommand {
  std::string_view name;
  std::string_view arguments;
  std::string_view help;
  Result<std::string> (*run)(HmpContext& context, HmpWords words);
  // What an argument may be, for Tab; null: anything.
  std::vector<std::string> (*complete)(HmpContext& context) = nullptr;
};

// Runs a line; its answer ends with a new line unless it is empty. Errors are one line.
Result<std::string> run_hmp(HmpContext& context, std::string_view line);

// What may stand in the place of the last word of a line that is begun.
std::vector<std::string> complete_hmp(HmpContext& context, std::string_view before);

std::span<const HmpCommand> hmp_commands();
// hmp_info.cpp: `info NAME`.
std::span<const HmpCommand> hmp_info_commands();
// Runs words[0] of a table on the other words; `what` is before it in errors.
Result<std::string> run_from(std::span<const HmpCommand> table, std::string_view what,
                             HmpContext& context, HmpWords words);
std::string list_commands(std::span<const HmpCommand> table, std::string_view prefix);

// By its name, with did-you-mean.
Result<Key> find_key(std::string_view name);

}  // namespace menura
