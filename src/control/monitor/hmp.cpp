#include "control/monitor/hmp.h"

#include "base/text.h"
#include "control/monitor/memory_dump.h"
#include "control/monitor/qmp_run.h"

namespace menura {

Result<void> HmpContext::select_cpu(u32 index) {
  const size_t count = target.machine.cpus().size();
  if (index >= count)
    return fail(Errc::OutOfRange, "There is no CPU {}, the last is {}", index, count - 1);
  cpu = index;
  return {};
}

x86::State HmpContext::registers() const {
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
  return fail(Errc::NotFound, "unknown command: '{}'", words[0]);
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

template <AddressKind kind>
Answer examine(HmpContext& context, HmpWords words) {
  return dump_memory(context, kind, words);
}

constexpr HmpCommand kCommands[] = {
    {"help", "[command]", "this list, or a part of it (also ?)", help},
    {"?", "[command]", "the same as help", help},
    {"info", "[subject]", "tell something about the machine", info},
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
    {"cpu", "index", "choose the CPU that x, xp and info registers are about", cpu},
    {"sendkey", "keys [hold_ms]", "press keys together: ctrl-alt-delete", sendkey},
    {"x", "/fmt address", "dump memory at a linear address: x /8xb $rip",
     examine<AddressKind::Linear>},
    {"xp", "/fmt address", "dump memory at a physical address", examine<AddressKind::Physical>},
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
  return fail(Errc::NotFound, "unknown command: '{}{}'{}", what, words[0],
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

}  // namespace menura
