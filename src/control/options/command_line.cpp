#include <algorithm>
#include <array>

#include "base/text.h"
#include "control/options/chardev_forms.h"
#include "control/options/handlers.h"

namespace menura {

namespace {

constexpr std::string_view kModes[] = {"readline", "control"};

// A machine without a display has the first serial port on the terminal, as with -nographic, shared
// with a monitor; unless somebody said otherwise or uses the terminal already.
std::string default_serial(const CommandLine& line) {
  if (line.options.machine.no_defaults) return "none";
  const std::string_view terminal = line.monitor_given ? "stdio" : "mon:stdio";
  if (line.nographic) return std::string(terminal);
  const auto uses_terminal = [](const NamedOptions& c) { return c.name == "stdio"; };
  if (line.display_none || std::ranges::any_of(line.options.machine.chardevs, uses_terminal))
    return "null";
  return std::string(terminal);
}

Result<void> finish(CommandLine& line) {
  TRY(finish_network(line));
  TRY(finish_usb(line));
  if (line.snapshot)
    for (DriveOptions& drive : line.options.machine.drives)
      if (!drive.snapshot) drive.snapshot = true;
  if (line.serial_forms.empty()) line.serial_forms.push_back(default_serial(line));
  for (size_t i = 0; i < line.serial_forms.size(); i++)
    line.options.machine.serials.push_back(
        TRY(chardev_of_form(line, line.serial_forms[i], format("serial{}", i)), "-serial"));
  return {};
}

// Reads the option at the front, and its argument; leaves the rest.
Result<void> read_option(CommandLine& line, std::span<const std::string_view>& rest) {
  const std::string_view word = rest.front();
  rest = rest.subspan(1);
  if (!word.starts_with('-')) return add_disk_at(line, 0, word);
  const Option* option = TRY(find_option(word));
  std::string_view argument;
  if (!option->argument.empty()) {
    if (rest.empty())
      return fail(Errc::InvalidArgument, "{}: expected {} behind it", word, option->argument);
    argument = rest.front();
    rest = rest.subspan(1);
  }
  if ((option->topic || option->properties) && (argument == "help" || argument == "?")) {
    line.options.answer =
        option->topic ? option->topic(line) : print_properties(option->properties());
    return {};
  }
  TRY(option->apply(line, argument), "-{}", option->name);
  return {};
}

}  // namespace

Result<const Option*> find_option(std::string_view word) {
  std::string_view name = word;
  for (int dashes = 0; dashes < 2 && name.starts_with('-'); dashes++) name.remove_prefix(1);
  std::vector<std::string_view> names;
  for (const Option& option : option_table()) {
    if (option.name == name) return &option;
    names.push_back(option.name);
  }
  const std::string_view near = nearest(name, names);
  return fail(Errc::NotFound, "No option is called '{}'{}", word,
              near.empty() ? std::string(" (-help lists the options)")
                           : format(" (did you mean '-{}'?)", near));
}

std::span<const std::string_view> enum_names(MonitorOptions::Mode) { return kModes; }

void MonitorOptions::describe(PropertyVisitor& p) {
  p.required("chardev", chardev, "the character device it talks through");
  p.field("id", id, "its name");
  p.field("mode", mode, "for people (readline) or programs (control)");
  p.field("pretty", pretty, "indent the JSON");
}

void UsbSwitch::describe(PropertyVisitor& p) {
  p.field("usb", wanted, "have the machine's USB host controller");
}

void FdOptions::describe(PropertyVisitor& p) {
  p.required("set", set, "the number in /dev/fdset/N");
  p.required("fd", fd, "the inherited descriptor");
  p.field("opaque", opaque, "whatever the user wants to say of it");
}

void OvercommitOptions::describe(PropertyVisitor& p) {
  p.field("mem-lock", mem_lock, "keep all memory from being swapped");
}

void NameOptions::describe(PropertyVisitor& p) {
  p.field("guest", guest, "the guest's name");
  p.field("debug-threads", debug_threads, "name the threads (they always are)");
}

void MessageOptions::describe(PropertyVisitor& p) {
  p.field("timestamp", timestamp, "begin with the time");
}

Result<ProgramOptions> parse_command_line(std::span<const std::string_view> arguments,
                                          const Catalogue& catalogue) {
  CommandLine line{.catalogue = catalogue};
  while (!arguments.empty() && line.options.answer.empty()) TRY(read_option(line, arguments));
  if (line.options.answer.empty()) TRY(finish(line));
  return std::move(line.options);
}

}  // namespace menura
