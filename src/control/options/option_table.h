// The table of the program's options: name, form of the argument, help, and what it does.
//
// Owner: control/options (constant). Threads: immutable. Example: see command_line.cpp.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/options/program_options.h"

namespace menura {

// -net and -nic, which are about both ends of a cable.
struct NetworkLine {
  bool given = false;                       // by any option: there is no default network then
  std::vector<NamedOptions> nics;           // the cards of -nic, name: the model or empty
  std::vector<NamedOptions> legacy_nics;    // of -net nic
  std::vector<std::string> legacy_netdevs;  // ids of -net's back ends
};

// -usb, or -machine usb=on.
struct UsbSwitch {
  bool wanted = false;
  void describe(PropertyVisitor& p);
};

// What gathers while options are read.
struct CommandLine {
  const Catalogue& catalogue;
  ProgramOptions options = {};
  // -serial, in order.
  std::vector<std::string> serial_forms = {};
  bool nographic = false;
  bool display_none = false;
  bool monitor_given = false;
  bool snapshot = false;
  UsbSwitch usb = {};
  NetworkLine network = {};
};

struct Option {
  std::string_view name;
  std::string_view argument;  // its form, for people; empty: takes none
  std::string_view help;
  Result<void> (*apply)(CommandLine& line, std::string_view argument);
  // The answer to `-NAME help`; null: the properties, or "help" is an argument like any other.
  std::string (*topic)(const CommandLine& line) = nullptr;
  // What may follow as property=value; null: nothing.
  std::vector<PropertyInfo> (*properties)() = nullptr;
  bool same_as_another = false;  // a second name, that programs need not hear of
};

std::span<const Option> option_table();
// With or without its dashes; NotFound with did-you-mean.
Result<const Option*> find_option(std::string_view word);

// option_help.cpp
std::string options_help();
std::string machine_help(const CommandLine& line);
std::string accel_help(const CommandLine& line);
std::string cpu_help(const CommandLine& line);
std::string device_help(const CommandLine& line);
Result<std::string> device_properties_help(const Catalogue& catalogue, std::string_view device);
std::string chardev_help(const CommandLine& line);
Result<std::string> chardev_properties_help(std::string_view kind);
std::string object_help(const CommandLine& line);
Result<std::string> object_properties_help(std::string_view kind);
std::string log_help(const CommandLine& line);
std::string trace_help(const CommandLine& line);

}  // namespace menura
