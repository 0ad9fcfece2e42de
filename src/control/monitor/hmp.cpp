#include "control/monitor/hmp.h"

#include "base/text.h"
#include "base/units.h"
#include "control/monitor/hmp_block.h"
#include "control/monitor/hmp_export.h"
#include "control/monitor/hmp_machine_check.h"
#include "control/monitor/hmp_memory.h"
#include "control/monitor/hmp_net.h"
#include "control/monitor/hmp_screen.h"
#include "control/monitor/hmp_tools.h"
#include "control/monitor/qmp_balloon.h"
#include "control/monitor/qmp_run.h"

namespace menura {

Result<void> HmpContext::select_cpu(u32 index) {
  const size_t count = target.machine.cpus().size();
  if (count == 0) return fail(Errc::NotFound, "This machine has no CPUs");
  if (index >= count)
    return fail(Errc::OutOfRange, "There is no CPU {}, the last is {}", index, count - 1);
  cpu = index;
  return {};
}

Result<x86::State> HmpContext::registers() const {
  if (cpu >= target.machine.cpus().size()) return fail(Errc::NotFound, "This machine has no CPUs");
  x86::State state;
  target.machine.cpus()[cpu]->run_on([&](Vcpu& vcpu) { vcpu.get(state); });
  return state;
}

Result<Key> find_key(std::string_view name) {
  // Names that are shorter to type.
  constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
      {"enter", "ret"}, {"del", "delete"}, {"space", "spc"}, {"<", "less"}, {"win", "meta_l"}};
  for (const auto& [alias, real] : kAliases)
    if (name == alias) name = real;
  if (const std::optional<Key> key = key_by_name(name)) return *key;
  std::vector<std::string_view> names;
  for (unsigned i = 0; i < static_cast<unsigned>(Key::kCount); i++)
    names.push_back(key_name(static_cast<Key>(i)));
  return fail(Errc::InvalidArgument, "There is no key '{}'{}", name, suggestion(name, names));
}

namespace {

using Answer = Result<std::string>;

// A QMP command without arguments, for people: nothing to say when it went well.
template <Result<Nothing> (*function)(MonitorTarget&, const Nothing&)>
Answer simply(HmpContext& context, HmpWords) {
  TRY(function(context.target, Nothing{}));
  return std::string();
}

Answer help(HmpContext&, HmpWords words) {
  if (words.empty()) return list_commands(hmp_commands(), "");
  if (words[0] == "info") return list_commands(hmp_info_commands(), "info ");
  for (const HmpCommand& command : hmp_commands())
    if (command.name == words[0]) return list_commands({&command, 1}, "");
  return fail(Errc::NotFound, "No command is called '{}'", words[0]);
}

Answer info(HmpContext& context, HmpWords words) {
  if (words.empty()) return list_commands(hmp_info_commands(), "info ");
  return run_from(hmp_info_commands(), "info ", context, words);
}

Answer cpu(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "cpu: expected a CPU's number");
  TRY(context.select_cpu(static_cast<u32>(std::min<u64>(TRY(parse_u64(words[0])), ~u32{0}))));
  return std::string();
}

Answer sendkey(HmpContext& context, HmpWords words) {
  if (words.empty() || words.size() > 2)
    return fail(Errc::InvalidArgument, "sendkey: expected keys like ctrl-alt-f1, and perhaps ms");
  std::vector<Key> keys;
  for (const std::string_view name : split(words[0], '-')) keys.push_back(TRY(find_key(name)));
  u64 hold_ms = KeySender::kHoldMs;
  if (words.size() == 2) hold_ms = TRY(parse_u64(words[1]));
  TRY(context.target.keys.send(std::move(keys), static_cast<u32>(std::min<u64>(hold_ms, 60'000))));
  return std::string();
}

Answer watchdog_action(HmpContext& context, HmpWords words) {
  Value arguments = Value::object();
  if (words.size() == 1) arguments.set("action", std::string(words[0]));
  SetWatchdogAction wanted;
  TRY(read_properties(wanted, arguments, "watchdog_action"));
  TRY(qmp_watchdog_set_action(context.target, wanted));
  return std::string();
}

Answer balloon(HmpContext& context, HmpWords words) {
  if (words.size() != 1) return fail(Errc::InvalidArgument, "How much RAM shall the guest keep");
  // As a person says it: in MiB, or with a unit.
  const u64 number = TRY(parse_size(words[0], MiB), "balloon");
  TRY(qmp_balloon(context.target, {.value = number}));
  return std::string();
}

std::vector<std::string> names_of(std::span<const HmpCommand> table) {
  std::vector<std::string> names;
  for (const HmpCommand& command : table) names.emplace_back(command.name);
  return names;
}

std::vector<std::string> complete_command(HmpContext&) { return names_of(hmp_commands()); }
std::vector<std::string> complete_subject(HmpContext&) { return names_of(hmp_info_commands()); }
std::vector<std::string> complete_key(HmpContext&) {
  std::vector<std::string> names;
  for (unsigned i = 0; i < static_cast<unsigned>(Key::kCount); i++)
    names.emplace_back(key_name(static_cast<Key>(i)));
  return names;
}

constexpr HmpCommand kCommands[] = {
    {"help", "[command]", "this list, or a part of it (also ?)", help, complete_command},
    {"?", "[command]", "the same as help", help, complete_command},
    {"info", "[subject]", "tell something about the machine", info, complete_subject},
    // Running
    {"stop", "", "stop all CPUs", simply<qmp_stop>},
    {"s", "", "the same as stop", simply<qmp_stop>},
    {"cont", "", "start or continue", simply<qmp_cont>},
    {"c", "", "the same as cont", simply<qmp_cont>},
    {"quit", "", "end the program", simply<qmp_quit>},
    {"q", "", "the same as quit", simply<qmp_quit>},
    {"system_reset", "", "reset the machine", simply<qmp_system_reset>},
    {"system_powerdown", "", "press the power button", simply<qmp_system_powerdown>},
    {"system_wakeup", "", "wake a sleeping guest", simply<qmp_system_wakeup>},
    {"nmi", "", "send an NMI to every CPU", simply<qmp_inject_nmi>},
    {"mce", "[-b] cpu bank status mcgstatus addr misc",
     "let a CPU find a hardware error; -b: the others hear of it too", hmp::machine_check},
    {"watchdog_action", "action", "choose what follows when a watchdog timer runs out",
     watchdog_action},
    {"balloon", "size", "how much RAM the guest shall keep, in MiB", balloon},
    {"sendkey", "keys [hold_ms]", "press keys together: ctrl-alt-delete", sendkey, complete_key},
    // The screen and the mouse
    {"screendump", "file [-f png|ppm] [device [head]]", "save a picture of the screen",
     hmp::save_screen},
    {"mouse_move", "dx dy [dz]", "move the mouse, and turn its wheel towards you by dz",
     hmp::move_mouse},
    {"mouse_button", "state", "hold these buttons: 1 left, 2 middle, 4 right, or a sum of them",
     hmp::press_mouse},
    {"mouse_set", "index", "use this mouse, of info mice", hmp::choose_mouse},
    {"set_password", "vnc password [keep]", "set a password for new clients",
     hmp::set_new_password},
    {"expire_password", "vnc now|never|+seconds|seconds", "say how long a password counts",
     hmp::limit_password},
    // Memory and ports
    {"cpu", "index", "choose the CPU that registers and linear addresses are about", cpu},
    {"x", "/fmt address", "dump memory at a linear address: x /8xb $rsp, x /10i $pc",
     hmp::examine_linear, hmp::complete_register},
    {"xp", "/fmt address", "dump memory at a physical address", hmp::examine_physical,
     hmp::complete_register},
    {"print", "/fmt expression", "the value of an expression: p $rip + 2*8", hmp::print_expression,
     hmp::complete_register},
    {"p", "/fmt expression", "the same as print", hmp::print_expression, hmp::complete_register},
    {"i", "/fmt port", "read an I/O port: i /b 0x71", hmp::read_port},
    {"o", "/fmt port value", "write an I/O port", hmp::write_port},
    {"gva2gpa", "address", "the physical address of a linear one", hmp::gva2gpa,
     hmp::complete_register},
    {"gpa2hva", "address", "where a physical address lies in this program", hmp::gpa2hva},
    {"sum", "address size", "the 16-bit checksum of physical memory", hmp::checksum},
    {"memsave", "address size file", "save memory at linear addresses", hmp::save_linear},
    {"pmemsave", "address size file", "save memory at physical addresses", hmp::save_physical},
    {"dump-guest-memory", "[-p] file [begin length]",
     "save the guest as an ELF core, by physical or (-p) linear addresses", hmp::dump_guest},
    // Images and block jobs
    {"block_resize", "device size", "change the size of an image", hmp::resize_block,
     hmp::complete_drive},
    {"block_stream", "device [speed [base]]", "move the content of backing images up",
     hmp::stream_block, hmp::complete_drive},
    {"block_job_set_speed", "job speed", "limit a job's bytes a second", hmp::set_job_speed,
     hmp::complete_job_name},
    {"block_job_cancel", "[-f] job", "end a job before its time; -f: a mirror that is ready, too",
     hmp::cancel_job, hmp::complete_job_name},
    {"block_job_pause", "job", "let a job rest", hmp::pause_job, hmp::complete_job_name},
    {"block_job_resume", "job", "let a job go on", hmp::resume_job, hmp::complete_job_name},
    {"block_job_complete", "job", "end a job that is ready", hmp::complete_job,
     hmp::complete_job_name},
    {"drive_mirror", "[-n] [-f] device file [format]",
     "copy a drive and follow its writes; -n: to a file there is, -f: with backing images",
     hmp::mirror_drive, hmp::complete_drive},
    {"drive_backup", "[-n] [-f] [-c] device file [format]",
     "copy a drive as it is now; -n, -f: as of drive_mirror, -c: compressed", hmp::backup_drive,
     hmp::complete_drive},
    {"snapshot_blkdev", "[-n] device file [format]",
     "let writes go to a new image from here on; -n: to one there is", hmp::snapshot_drive,
     hmp::complete_drive},
    // Debugging
    {"gdbserver", "[form|none]", "serve GDB there (tcp::1234)", hmp::serve_gdb},
    {"log", "item[,item...]|none", "log these, as -d does", hmp::log_these, hmp::complete_log_item},
    {"trace-event", "pattern on|off", "trace events that match, or not", hmp::trace_these,
     hmp::complete_trace_event},
    // Objects and character devices
    {"qom-list", "[path]", "an object's properties and children", hmp::list_object},
    {"qom-get", "path property", "the value of a property", hmp::get_property},
    {"object_add", "type,id=id[,property=value...]", "make an object", hmp::add_object},
    {"object_del", "id", "remove an object", hmp::remove_object, hmp::complete_object},
    {"chardev-add", "kind,id=id[,property=value...]", "make a character device", hmp::add_chardev},
    {"chardev-change", "id kind[,property=value...]", "put another character device into its place",
     hmp::change_chardev, hmp::complete_chardev},
    {"chardev-remove", "id", "remove a character device that nobody uses", hmp::remove_chardev,
     hmp::complete_chardev},
    {"ringbuf_read", "device size", "take the oldest output out of a ringbuf", hmp::read_ring,
     hmp::complete_chardev},
    {"ringbuf_write", "device data", "send input from a ringbuf", hmp::write_ring,
     hmp::complete_chardev},
    {"getfd", "name", "name the descriptor that was sent along", hmp::name_descriptor},
    {"closefd", "name", "close a named descriptor", hmp::close_descriptor},
    // Exports
    {"nbd_server_start", "[-a] [-w] host:port|unix:path",
     "listen for NBD clients; -a: export all drives, -w: writable", hmp::start_nbd},
    {"nbd_server_add", "[-w] device [name]", "export a drive or node to NBD clients", hmp::add_nbd,
     hmp::complete_node},
    {"nbd_server_remove", "[-f] name", "export it no more; -f: cut its clients off",
     hmp::remove_nbd},
    {"nbd_server_stop", "", "end the NBD server and all its exports", hmp::stop_nbd},
    // The network
    {"netdev_add", "kind,id=id[,property=value...]", "make a network back end", hmp::add_netdev},
    {"netdev_del", "id", "take a network back end away", hmp::remove_netdev, hmp::complete_netdev},
    {"set_link", "name on|off", "plug the cable of a card or back end in, or out", hmp::change_link,
     hmp::complete_link},
    {"hostfwd_add", "[netdev] [tcp|udp]:[host]:port-[guest]:port",
     "forward connections to the host into a user network", hmp::add_hostfwd, hmp::complete_netdev},
    {"hostfwd_remove", "[netdev] [tcp|udp]:[host]:port", "forward them no more",
     hmp::remove_hostfwd, hmp::complete_netdev},
};

}  // namespace

std::span<const HmpCommand> hmp_commands() { return kCommands; }

std::string list_commands(std::span<const HmpCommand> table, std::string_view prefix) {
  std::string text;
  for (const HmpCommand& command : table)
    text += format("{}{}{}{} -- {}\n", prefix, command.name, command.arguments.empty() ? "" : " ",
                   command.arguments, command.help);
  return text;
}

Result<std::string> run_from(std::span<const HmpCommand> table, std::string_view what,
                             HmpContext& context, HmpWords words) {
  std::vector<std::string_view> names;
  for (const HmpCommand& command : table) {
    if (command.name == words[0]) return command.run(context, words.subspan(1));
    names.push_back(command.name);
  }
  return fail(Errc::NotFound, "No command is called '{}{}'{}", what, words[0],
              suggestion(words[0], names));
}

Result<std::string> run_hmp(HmpContext& context, std::string_view line) {
  std::vector<std::string_view> words;
  for (const std::string_view part : split(trim(line), ' '))
    if (!part.empty()) words.push_back(part);
  if (words.empty()) return std::string();
  // "x/8xb" is "x /8xb".
  if (const size_t slash = words[0].find('/'); slash != std::string_view::npos && slash > 0) {
    words.insert(words.begin() + 1, words[0].substr(slash));
    words[0] = words[0].substr(0, slash);
  }
  return run_from(hmp_commands(), "", context, words);
}

std::vector<std::string> complete_hmp(HmpContext& context, std::string_view before) {
  const size_t first_end = before.find(' ');
  if (first_end == std::string_view::npos) return complete_command(context);
  for (const HmpCommand& command : hmp_commands())
    if (command.name == before.substr(0, first_end) && command.complete)
      return command.complete(context);
  return {};
}

}  // namespace menura
