// The texts of -help and of each option's own help.
#include "base/text.h"
#include "base/trace.h"
#include "base/version.h"
#include "chardev/config.h"
#include "control/options/chardev_forms.h"
#include "control/options/handlers.h"
#include "cpu/x86/model.h"
#include "cpu/x86/model_table.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/catalogue/objects.h"

namespace menura {

std::string version_line() {
  return format("QEMU emulator version {}.{}.{} (menura {})", kQemuVersion[0], kQemuVersion[1],
                kQemuVersion[2], version());
}

std::string options_help() {
  std::string text = version_line() + "\nusage: menura-system-x86_64 [options] [disk image]\n\n";
  for (const Option& option : option_table()) {
    const std::string form = option.argument.empty()
                                 ? format("-{}", option.name)
                                 : format("-{} {}", option.name, option.argument);
    constexpr size_t kColumn = 32;
    text += form.size() < kColumn ? format("{:<32}{}\n", form, option.help)
                                  : format("{}\n{:<32}{}\n", form, "", option.help);
  }
  return text + "\n`-OPTION help` says more about many of them.\n";
}

std::string machine_help(const CommandLine& line) {
  std::string text = "Machines:\n";
  for (const MachineType& type : line.catalogue.machines) {
    if (!type.alias.empty())
      text += format("{:<20} {} (alias of {})\n", type.alias, type.description, type.name);
    text +=
        format("{:<20} {}{}\n", type.name, type.description, type.is_default ? " (default)" : "");
  }
  return text + "\nProperties:\n" + print_properties(list_properties(MachineOptions{}));
}

std::string accel_help(const CommandLine&) { return accelerator_help(accelerator_kinds(nullptr)); }

std::string cpu_help(const CommandLine&) {
  std::string text =
      "Available CPUs (behind the name: ,+feature ,-feature ,feature=on|off ,check ,enforce "
      ",phys-bits= ...):\n"
      "  host, max                  all that the accelerator offers (the default)\n";
  for (const x86::NamedModel& model : x86::named_models())
    text += format("  {:<26} {}\n", model.name, x86::resolve(model).brand);
  for (const x86::ModelAlias& alias : x86::model_aliases())
    text += format("  {:<26} (alias of {})\n", alias.name, alias.model);
  text += "A name without its version means version 1.\n\nRecognized CPUID flags:\n ";
  size_t column = 1;
  for (const std::string_view name : x86::feature_names()) {
    if (column + name.size() + 1 > 79) {
      text += "\n ";
      column = 1;
    }
    text += format(" {}", name);
    column += name.size() + 1;
  }
  return text + "\n";
}

std::string device_help(const CommandLine& line) {
  std::string text;
  std::vector<std::string_view> categories;
  for (const DeviceKind& device : line.catalogue.devices)
    if (std::find(categories.begin(), categories.end(), device.category) == categories.end())
      categories.push_back(device.category);
  for (const std::string_view category : categories) {
    text += format("{}{}:\n", text.empty() ? "" : "\n", category);
    for (const DeviceKind& device : line.catalogue.devices)
      if (device.category == category)
        text += format("name \"{}\", bus {}, desc \"{}\"\n", device.name, device.bus,
                       device.description);
  }
  return text;
}

Result<std::string> device_properties_help(const Catalogue& catalogue, std::string_view device) {
  const DeviceKind* kind = TRY(catalogue.find_device(device));
  return format("{} options:\n{}", device, print_properties(kind->properties()));
}

std::string chardev_help(const CommandLine&) {
  std::string text = "Kinds of character devices:\n";
  for (const ChardevKind& kind : chardev_kinds())
    text += format("  {:<10} {}\n", kind.name, kind.help);
  return text + "`-chardev KIND,help` lists a kind's options.\n";
}

Result<std::string> chardev_properties_help(std::string_view kind) {
  const ChardevConfig config = TRY(chardev_config(kind));
  return format("{} options:\n{}", kind, print_properties(list_properties(config)));
}

std::string forms_help(const CommandLine&) { return format("Forms: {}\n", kChardevForms); }

std::string display_help(const CommandLine&) { return "Kinds of displays:\nnone\nvnc\n"; }

std::string object_help(const CommandLine&) {
  std::string text = "Kinds of objects:\n";
  for (const ObjectKind& kind : object_kinds())
    text += format("  {:<22}{}\n", kind.name, kind.help);
  return text + "`-object TYPE,help` lists a type's properties.\n";
}

Result<std::string> object_properties_help(std::string_view kind) {
  const ObjectKind* found = TRY(find_object_kind(kind));
  return format("{} options:\n{}", kind, print_properties(found->properties()));
}

std::string log_help(const CommandLine&) {
  std::string text = "What -d logs (comma separated):\n";
  for (const LogItemInfo& item : log_items()) text += format("{:<15} {}\n", item.name, item.help);
  return text +
         "guest_errors    what the guest does wrong to a device\n"
         "trace:PATTERN   trace events that match; see -trace help\n";
}

std::string trace_help(const CommandLine&) {
  std::string text;
  for (const TraceEvent* event : trace_events())
    text += format("{:<28} {}\n", event->name, event->pattern);
  return text;
}

}  // namespace menura
