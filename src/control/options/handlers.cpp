#include "control/options/handlers.h"

#include <unistd.h>

#include <algorithm>

#include "base/fd_sets.h"
#include "base/text.h"
#include "base/trace.h"
#include "base/uuid.h"
#include "control/options/chardev_forms.h"
#include "control/options/config_file.h"
#include "cpu/x86/model.h"
#include "machine/catalogue/objects.h"
#include "machine/cpu_options.h"
#include "machine/numa.h"

namespace menura {

namespace {

// Reads key=value text into a struct of the configuration; later options override earlier ones.
template <class Struct>
Result<void> read_into(Struct& target, std::string_view text, std::string_view implied_key,
                       std::string_view what) {
  const Value given = TRY(parse_keyval(text, implied_key));
  return read_properties(target, given, what);
}

Result<void> no_value_missing(std::string_view argument, std::string_view what) {
  if (argument.empty()) return fail(Errc::InvalidArgument, "expected {}, not an empty text", what);
  return {};
}

}  // namespace

Result<NamedOptions> read_named_options(std::string_view text, std::string_view name_key) {
  NamedOptions named;
  named.options = TRY(text.starts_with('{') ? parse_json(text) : parse_keyval(text, name_key));
  if (!named.options.as<Value::Object>())
    return fail(Errc::InvalidArgument, "expected an object, not {}", named.options.kind_name());
  const auto take = [&](std::string_view key, std::string& into) -> Result<void> {
    const Value* value = named.options.find(key);
    if (!value) return {};
    const std::string* word = value->as<std::string>();
    if (!word)
      return fail(Errc::InvalidArgument, "'{}' is {}, not a string", key, value->kind_name());
    into = *word;
    named.options.erase(key);
    return {};
  };
  TRY(take(name_key, named.name));
  TRY(take("id", named.id));
  if (named.name.empty()) return fail(Errc::InvalidArgument, "'{}' must be given", name_key);
  return named;
}

Result<void> set_machine(CommandLine& line, OptionArgument argument) {
  MachineOptions& machine = line.options.machine.machine;
  Value given = TRY(parse_keyval(argument, "type"));
  // Parts that scripts leave out of a machine, and that are not there anyway.
  for (const std::string_view part : {"vmport", "graphics", "nvdimm", "sata"}) {
    const Value* value = given.find(part);
    if (!value) continue;
    if (*value != Value("off") && *value != Value("auto"))
      return fail(Errc::Unsupported, "{}={}: this machine has none, only off is possible", part,
                  detail::print_value(*value));
    given.erase(part);
  }
  if (const Value* wanted = given.find("usb")) {
    Value usb = Value::object();
    usb.set("usb", *wanted);
    given.erase("usb");
    TRY(read_properties(line.usb, usb, "machine options"));
  }
  TRY(read_properties(machine, given, "machine options"));
  TRY(line.catalogue.find_machine(machine.type));
  return {};
}

Result<void> add_accelerator(CommandLine& line, OptionArgument argument) {
  line.options.machine.accelerators.push_back(TRY(read_named_options(argument, "accel")));
  return {};
}

Result<void> enable_kvm(CommandLine& line, OptionArgument) { return add_accelerator(line, "kvm"); }

// Names and forms; whether the accelerator has the features is asked when the machine is built.
Result<void> set_cpu(CommandLine& line, OptionArgument argument) {
  const CpuOptions cpu = TRY(parse_cpu_options(argument));
  const Result<x86::AppliedModel> applied = x86::apply_model(cpu.model, {});
  if (!applied && applied.error().code != Errc::Unsupported) return applied.error();
  line.options.machine.cpu = argument;
  return {};
}

Result<void> set_smp(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.machine.smp, argument, "cpus", "CPU topology");
}

Result<void> set_memory(CommandLine& line, OptionArgument argument) {
  Value given = TRY(parse_keyval(argument, "size"));
  if (Value* size = given.find("size"))
    if (const std::string* text = size->as<std::string>())
      if (!text->empty() && std::ranges::all_of(*text, [](char c) { return c >= '0' && c <= '9'; }))
        *size = *text + "M";
  line.options.machine.memory.size_given = given.find("size") != nullptr;
  return read_properties(line.options.machine.memory, given, "memory options");
}

Result<void> add_numa(CommandLine& line, OptionArgument argument) {
  return read_numa_option(argument, line.options.machine.numa);
}

Result<void> set_memory_path(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a path"));
  line.options.machine.memory.path = argument;
  return {};
}

Result<void> set_preallocation(CommandLine& line, OptionArgument) {
  line.options.machine.memory.preallocate = true;
  return {};
}

Result<void> set_bios(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file"));
  line.options.machine.firmware.bios = argument;
  return {};
}

Result<void> set_kernel(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file"));
  line.options.machine.firmware.kernel = argument;
  return {};
}

Result<void> set_initrd(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file"));
  line.options.machine.firmware.initrd = argument;
  return {};
}

Result<void> set_append(CommandLine& line, OptionArgument argument) {
  line.options.machine.firmware.append = argument;
  return {};
}

Result<void> set_boot(CommandLine& line, OptionArgument argument) {
  BootOptions& boot = line.options.machine.boot;
  TRY(read_into(boot, argument, "order", "boot options"));
  for (const std::string& order : {boot.order, boot.once})
    for (const char letter : order)
      if (std::string_view("abcdn").find(letter) == std::string_view::npos)
        return fail(Errc::InvalidArgument,
                    "expected letters among a b (floppies), c (disk), d (CD) and n (network), not "
                    "'{}'",
                    order);
  return {};
}

Result<void> set_rtc(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.machine.rtc, argument, "base", "clock options");
}

Result<void> set_name(CommandLine& line, OptionArgument argument) {
  NameOptions name;
  TRY(read_into(name, argument, "guest", "name options"));
  line.options.machine.name = name.guest;
  return {};
}

Result<void> set_uuid(CommandLine& line, OptionArgument argument) {
  line.options.machine.uuid = TRY(parse_uuid(argument));
  return {};
}

Result<void> add_smbios(CommandLine& line, OptionArgument argument) {
  line.options.machine.firmware.smbios.emplace_back(argument);
  return {};
}

Result<void> add_acpi_table(CommandLine& line, OptionArgument argument) {
  line.options.machine.firmware.acpi_tables.emplace_back(argument);
  return {};
}

Result<void> add_drive(CommandLine& line, OptionArgument argument) {
  DriveOptions drive;
  TRY(read_into(drive, argument, {}, "drive options"));
  line.options.machine.drives.push_back(std::move(drive));
  return {};
}

Result<void> add_blockdev(CommandLine& line, OptionArgument argument) {
  Value node =
      argument.starts_with('{') ? TRY(parse_json(argument)) : TRY(parse_keyval(argument, "driver"));
  line.options.machine.blockdevs.push_back(std::move(node));
  return {};
}

Result<void> add_disk_at(CommandLine& line, u32 index, OptionArgument file) {
  TRY(no_value_missing(file, "a file"));
  line.options.machine.drives.push_back({.file = Value(file), .index = index});
  return {};
}

Result<void> add_cdrom(CommandLine& line, OptionArgument file) {
  TRY(no_value_missing(file, "a file"));
  line.options.machine.drives.push_back(
      {.file = Value(file), .media = DriveOptions::Media::Cdrom, .index = 2});
  return {};
}

Result<void> set_snapshot(CommandLine& line, OptionArgument) {
  line.snapshot = true;
  return {};
}

Result<void> add_device(CommandLine& line, OptionArgument argument) {
  NamedOptions device = TRY(read_named_options(argument, "driver"));
  // -device help is the table's business, -device DRIVER,help is not.
  if (device.options.find("help") || device.options.find("?")) {
    line.options.answer = TRY(device_properties_help(line.catalogue, device.name));
    return {};
  }
  TRY(line.catalogue.find_device(device.name));
  line.options.machine.devices.push_back(std::move(device));
  return {};
}

Result<void> add_global(CommandLine& line, OptionArgument argument) {
  std::string driver, property, value;
  const size_t equals = argument.find('=');
  const size_t dot = argument.substr(0, equals).find('.');
  if (dot != std::string_view::npos && equals != std::string_view::npos) {
    driver = argument.substr(0, dot);
    property = argument.substr(dot + 1, equals - dot - 1);
    value = argument.substr(equals + 1);
  } else {
    struct GlobalOptions {
      std::string &driver, &property, &value;
      void describe(PropertyVisitor& p) {
        p.required("driver", driver);
        p.required("property", property);
        p.required("value", value);
      }
    } global{driver, property, value};
    TRY(read_into(global, argument, {}, "DRIVER.PROPERTY=VALUE"));
  }
  NamedOptions named{.name = driver, .id = {}, .options = Value::object()};
  named.options.set(property, value);
  line.options.machine.globals.push_back(std::move(named));
  return {};
}

Result<void> add_object(CommandLine& line, OptionArgument argument) {
  NamedOptions object = TRY(read_named_options(argument, "qom-type"));
  if (object.options.find("help") || object.options.find("?")) {
    line.options.answer = TRY(object_properties_help(object.name));
    return {};
  }
  TRY(find_object_kind(object.name));
  line.options.machine.objects.push_back(std::move(object));
  return {};
}

Result<void> set_overcommit(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.overcommit, argument, {}, "overcommit options");
}

Result<void> set_no_defaults(CommandLine& line, OptionArgument) {
  line.options.machine.no_defaults = true;
  return {};
}

Result<void> accept_switch(CommandLine&, OptionArgument) { return {}; }

Result<void> add_audio(CommandLine& line, OptionArgument argument) {
  AudioOptions audio;
  const Value given =
      TRY(argument.starts_with('{') ? parse_json(argument) : parse_keyval(argument, "driver"));
  TRY(read_properties(audio, given, "audio options"));
  line.options.audiodevs.push_back(audio.id);
  line.options.machine.audiodevs.push_back(std::move(audio));
  return {};
}

Result<void> add_fsdev(CommandLine& line, OptionArgument argument) {
  ShareOptions share;
  const Value given =
      TRY(argument.starts_with('{') ? parse_json(argument) : parse_keyval(argument, "fsdriver"));
  TRY(read_properties(share, given, "-fsdev"));
  TRY(share.folder());
  line.options.machine.fsdevs.push_back(std::move(share));
  return {};
}

// A folder and the device that shows it.
Result<void> add_virtfs(CommandLine& line, OptionArgument argument) {
  Value given = TRY(parse_keyval(argument, "fsdriver"));
  std::string tag;
  if (const Value* word = given.find("mount_tag"); word && word->as<std::string>())
    tag = *word->as<std::string>();
  if (tag.empty()) return fail(Errc::InvalidArgument, "'mount_tag' must be given");
  given.erase("mount_tag");
  if (!given.find("id")) given.set("id", tag);
  ShareOptions share;
  TRY(read_properties(share, given, "-virtfs"));
  TRY(share.folder());
  NamedOptions device{.name = "virtio-9p-pci"};
  device.options.set("fsdev", share.id);
  device.options.set("mount_tag", tag);
  line.options.machine.devices.push_back(std::move(device));
  line.options.machine.fsdevs.push_back(std::move(share));
  return {};
}

// At once: what opens files may be any option behind it.
Result<void> add_fd(CommandLine&, OptionArgument argument) {
  FdOptions options;
  TRY(read_into(options, argument, {}, "descriptor options"));
  if (options.fd <= STDERR_FILENO)
    return fail(Errc::InvalidArgument,
                "fd={}: standard input, output and error stay where they are", options.fd);
  return add_to_fd_set(options.set, options.fd, options.opaque);
}

Result<void> add_chardev(CommandLine& line, OptionArgument argument) {
  NamedOptions chardev = TRY(read_named_options(argument, "backend"));
  if (chardev.options.find("help")) {
    line.options.answer = TRY(chardev_properties_help(chardev.name));
    return {};
  }
  line.options.machine.chardevs.push_back(std::move(chardev));
  return {};
}

Result<std::string> chardev_of_form(CommandLine& line, OptionArgument text,
                                    std::string_view label) {
  ChardevForm form = TRY(parse_chardev_form(text, label));
  if (form.kind == ChardevForm::Kind::New)
    line.options.machine.chardevs.push_back(std::move(form.chardev));
  if (form.with_monitor) {
    line.monitor_given = true;
    line.options.monitors.push_back({.chardev = form.id});
  }
  return form.id;
}

Result<void> add_serial(CommandLine& line, OptionArgument argument) {
  TRY(parse_chardev_form(argument, "serial"));
  line.serial_forms.emplace_back(argument);
  return {};
}

Result<void> set_debugcon(CommandLine& line, OptionArgument argument) {
  line.options.machine.debugcon = TRY(chardev_of_form(line, argument, "debugcon"));
  return {};
}

namespace {

Result<void> add_monitor_form(CommandLine& line, OptionArgument form, MonitorOptions monitor) {
  line.monitor_given = true;
  const std::string label = format("compat_monitor{}", line.options.monitors.size());
  monitor.chardev = TRY(chardev_of_form(line, form, label));
  if (!monitor.chardev.empty()) line.options.monitors.push_back(std::move(monitor));
  return {};
}

}  // namespace

Result<void> add_monitor(CommandLine& line, OptionArgument argument) {
  return add_monitor_form(line, argument, {});
}
Result<void> add_qmp(CommandLine& line, OptionArgument argument) {
  return add_monitor_form(line, argument, {.mode = MonitorOptions::Mode::Control});
}
Result<void> add_qmp_pretty(CommandLine& line, OptionArgument argument) {
  return add_monitor_form(line, argument, {.mode = MonitorOptions::Mode::Control, .pretty = true});
}

Result<void> add_mon(CommandLine& line, OptionArgument argument) {
  MonitorOptions monitor;
  TRY(read_into(monitor, argument, "chardev", "monitor options"));
  line.monitor_given = true;
  line.options.monitors.push_back(std::move(monitor));
  return {};
}

Result<void> set_nographic(CommandLine& line, OptionArgument) {
  line.nographic = true;
  return {};
}

Result<void> set_display(CommandLine& line, OptionArgument argument) {
  line.display_none = true;  // no window here: the terminal is not its own
  if (argument == "none") return {};
  constexpr std::string_view kVnc = "vnc=";
  if (argument.starts_with(kVnc)) return add_vnc(line, argument.substr(kVnc.size()));
  return fail(Errc::Unsupported, "expected none or vnc=host:display, not '{}'", argument);
}

Result<void> add_vnc(CommandLine& line, OptionArgument argument) {
  line.display_none = true;
  VncOptions vnc;
  TRY(read_into(vnc, argument, "vnc", "VNC options"));
  if (vnc.where == "none") return {};
  for (const VncOptions& other : line.options.vncs)
    if (other.id == vnc.id)
      return fail(Errc::Exists, "There is a VNC server '{}' already: give this one an id", vnc.id);
  line.options.vncs.push_back(std::move(vnc));
  return {};
}

Result<void> set_keyboard(CommandLine& line, OptionArgument argument) {
  TRY(Keymap::of(argument));
  line.options.keyboard_layout = argument;
  return {};
}

// Where the PIIX3 has it, before the devices that are plugged into it.
Result<void> set_usb(CommandLine& line, OptionArgument) {
  line.usb.wanted = true;
  return {};
}

// Before all devices that may be plugged into it.
Result<void> finish_usb(CommandLine& line) {
  if (!line.usb.wanted) return {};
  const MachineType* const type =
      TRY(line.catalogue.find_machine(line.options.machine.machine.type));
  if (type->default_usb.empty())
    return fail(Errc::Unsupported, "-usb: machine '{}' has no USB", type->name);
  NamedOptions controller = TRY(read_named_options(type->default_usb, "driver"));
  controller.id = "usb-bus";
  auto& devices = line.options.machine.devices;
  devices.insert(devices.begin(), std::move(controller));
  return {};
}

// The board knows which there are.
Result<void> set_vga(CommandLine& line, OptionArgument argument) {
  line.options.machine.vga = argument;
  return no_value_missing(argument, "a graphics card");
}

Result<void> accept_none_of(Absent what, OptionArgument argument) {
  constexpr std::string_view kNames[] = {"parallel port", "sound"};
  if (argument == "none") return {};
  return fail(Errc::Unsupported, "expected none, because there is no {}, not '{}'",
              kNames[static_cast<size_t>(what)], argument);
}

Result<void> set_paused(CommandLine& line, OptionArgument) {
  line.options.machine.start_paused = true;
  return {};
}
Result<void> set_no_acpi(CommandLine& line, OptionArgument) {
  line.options.machine.machine.acpi = false;
  return {};
}
Result<void> set_no_hpet(CommandLine& line, OptionArgument) {
  line.options.machine.machine.hpet = OnOffAuto::Off;
  return {};
}
Result<void> set_no_reboot(CommandLine& line, OptionArgument) {
  line.options.machine.action.reboot = RebootAction::Shutdown;
  return {};
}
Result<void> set_no_shutdown(CommandLine& line, OptionArgument) {
  line.options.machine.action.shutdown = ShutdownAction::Pause;
  return {};
}
Result<void> set_action(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.machine.action, argument, {}, "action options");
}
Result<void> set_watchdog_action(CommandLine& line, OptionArgument argument) {
  Value only = Value::object();
  only.set("watchdog", std::string(argument));
  return read_properties(line.options.machine.action, only, "watchdog-action");
}
Result<void> set_daemonize(CommandLine& line, OptionArgument) {
  line.options.daemonize = true;
  return {};
}

Result<void> read_config(CommandLine& line, OptionArgument argument) {
  constexpr u64 kMost = 1 << 20;
  const std::string path(argument);
  const std::string text = TRY(read_file(path, kMost));
  for (const ConfigGroup& group : TRY(parse_config_file(text), "{}", path)) {
    const Option* option = TRY(find_option(group.option), "{}: line {}", path, group.line);
    if (option->argument.empty() || option->apply == read_config)
      return fail(Errc::InvalidArgument, "{}: line {}: '{}' has no properties", path, group.line,
                  group.option);
    TRY(option->apply(line, group.argument), "{}: line {}", path, group.line);
  }
  return {};
}

Result<void> set_user(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a user"));
  line.options.user = argument;
  return {};
}

Result<void> set_pidfile(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file"));
  line.options.pidfile = argument;
  return {};
}

Result<void> set_log_items(CommandLine& line, OptionArgument argument) {
  std::vector<std::string_view> names{"guest_errors", "trace:PATTERN"};
  for (const LogItemInfo& item : log_items()) names.push_back(item.name);
  for (const std::string_view item : split(argument, ',')) {
    const std::optional<LogItem> code = find_log_item(item);
    if (item == "guest_errors")
      line.options.guest_errors = true;
    else if (item.starts_with("trace:"))
      TRY(add_trace(line, item.substr(6)));
    else if (code)
      line.options.code_log |= 1u << static_cast<unsigned>(*code);
    else
      return fail(Errc::InvalidArgument, "there is no log item '{}', see -d help{}", item,
                  suggestion(item, names));
  }
  return {};
}

Result<void> set_log_ranges(CommandLine& line, OptionArgument argument) {
  line.options.code_ranges = TRY(parse_log_ranges(argument));
  return {};
}

Result<void> set_log_file(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file"));
  line.options.log_file = argument;
  return {};
}

Result<void> add_trace(CommandLine& line, OptionArgument argument) {
  struct TraceOptions {
    std::string pattern;
    void describe(PropertyVisitor& p) { p.required("enable", pattern, "names, with * and ?"); }
  } trace;
  TRY(read_into(trace, argument, "enable", "trace options"));
  std::vector<std::string_view> names;
  for (const TraceEvent* event : trace_events()) names.push_back(event->name);
  if (std::ranges::none_of(names, [&](auto name) { return glob_match(trace.pattern, name); }))
    return fail(Errc::NotFound, "no trace event matches '{}'{}", trace.pattern,
                suggestion(trace.pattern, names));
  line.options.traces.push_back(trace.pattern);
  return {};
}

Result<void> set_messages(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.messages, argument, {}, "message options");
}

Result<void> set_gdb(CommandLine& line, OptionArgument argument) {
  ChardevForm form = TRY(parse_gdb_form(argument));
  if (form.kind == ChardevForm::Kind::New)
    line.options.machine.chardevs.push_back(std::move(form.chardev));
  line.options.gdb_chardev = form.id;
  return {};
}

Result<void> set_gdb_default(CommandLine& line, OptionArgument) {
  return set_gdb(line, "tcp::1234");
}

Result<void> set_sandbox(CommandLine& line, OptionArgument argument) {
  return read_into(line.options.sandbox, argument, "enable", "sandbox options");
}

Result<void> set_qtest(CommandLine& line, OptionArgument argument) {
  line.options.qtest_chardev = TRY(chardev_of_form(line, argument, "qtest"));
  return {};
}

Result<void> set_qtest_log(CommandLine& line, OptionArgument argument) {
  TRY(no_value_missing(argument, "a file, or none"));
  line.options.qtest_log = argument == "none" ? std::string_view() : argument;
  return {};
}

Result<void> show_help(CommandLine& line, OptionArgument) {
  line.options.answer = options_help();
  return {};
}

Result<void> show_version(CommandLine& line, OptionArgument) {
  line.options.answer = version_line() +
                        "\nThis is menura, a program of its own: it speaks the command line and "
                        "monitor protocol of that QEMU.\n";
  return {};
}

}  // namespace menura
