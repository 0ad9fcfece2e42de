// The subjects of `info`.
#include <algorithm>

#include "accel/kvm/kvm_accelerator.h"
#include "base/text.h"
#include "base/units.h"
#include "base/version.h"
#include "control/monitor/hmp.h"
#include "control/monitor/hmp_block.h"
#include "control/monitor/hmp_net.h"
#include "control/monitor/hmp_screen.h"
#include "control/monitor/memory_dump.h"
#include "control/monitor/qmp_balloon.h"
#include "control/monitor/qmp_query.h"
#include "control/monitor/qmp_tools.h"
#include "control/monitor/qom_tree.h"
#include "control/options/program_options.h"
#include "hw/intc/info.h"
#include "hw/pci/pci_info.h"
#include "machine/chardevs.h"
#include "machine/drives.h"
#include "state/tree.h"

namespace menura {

namespace {

using Answer = Result<std::string>;

Answer info_version(HmpContext&, HmpWords) { return version_line() + "\n"; }

Answer info_status(HmpContext& context, HmpWords) {
  const StatusReply status = TRY(query_status(context.target, {}));
  return format(
      "VM status: {}{}\n", status.running ? "running" : "paused",
      status.running || status.status == RunState::Paused
          ? ""
          : format(" ({})", enum_names(status.status)[static_cast<size_t>(status.status)]));
}

Answer info_name(HmpContext& context, HmpWords) {
  const std::string& name = context.target.machine.config().name;
  return name.empty() ? name : name + "\n";
}

Answer info_uuid(HmpContext& context, HmpWords) {
  return TRY(query_uuid(context.target, {})).uuid + "\n";
}

Answer info_balloon(HmpContext& context, HmpWords) {
  const Result<BalloonReply> reply = query_balloon(context.target, {});
  if (!reply) return reply.error().text + "\n";
  return format("balloon: actual={}\n", reply->actual / MiB);
}

Answer info_kvm(HmpContext& context, HmpWords) {
  const KvmReply kvm = TRY(query_kvm(context.target, {}));
  std::string text = format("kvm support: {}\n", kvm.enabled   ? "enabled"
                                                 : kvm.present ? "disabled"
                                                               : "not present");
  if (kvm.enabled)
    text +=
        print_kvm_info(static_cast<KvmAccelerator&>(context.target.machine.accelerator()).info());
  return text;
}

Answer info_jit(HmpContext& context, HmpWords) {
  if (context.target.machine.accelerator().name() != "jit")
    return std::string("The translator (accel=jit) does not run this guest\n");
  return TRY(query_jit(context.target, {})).text;
}

Answer info_cpus(HmpContext& context, HmpWords) {
  std::string text;
  for (const std::unique_ptr<VcpuThread>& cpu : context.target.machine.cpus())
    text += format("{} CPU #{}: thread_id={}{}\n", cpu->index() == context.cpu ? '*' : ' ',
                   cpu->index(), cpu->thread_id(), cpu->halted() ? " (halted)" : "");
  return text;
}

Answer info_registers(HmpContext& context, HmpWords words) {
  if (words.empty()) return x86::print_registers(TRY(context.registers()));
  if (words.size() != 1 || words[0] != "-a")
    return fail(Errc::InvalidArgument, "info registers: expected -a (all CPUs) or nothing");
  std::string text;
  HmpContext each = context;
  for (each.cpu = 0; each.cpu < context.target.machine.cpus().size(); each.cpu++)
    text += format("CPU#{}\n{}\n", each.cpu, x86::print_registers(TRY(each.registers())));
  return text;
}

Answer info_mtree(HmpContext& context, HmpWords words) {
  bool flat = false;
  bool owners = false;
  for (const std::string_view word : words) {
    if (word != "-f" && word != "-o")
      return fail(Errc::InvalidArgument, "info mtree: expected -f (flat) or -o (owners), not '{}'",
                  word);
    (word == "-f" ? flat : owners) = true;
  }
  const auto print = flat ? print_flat_view : print_region_tree;
  return print(context.target.machine.memory(), owners) +
         print(context.target.machine.io(), owners);
}

Answer info_pci(HmpContext& context, HmpWords) {
  const PciBus* bus = context.target.machine.board().pci_bus();
  if (!bus) return fail(Errc::NotFound, "This machine has no PCI bus");
  return print_pci(*bus);
}

std::string live_state(Device& device) { return print_tree(save_state(device, device.id())); }

void print_device(const Device& device, size_t depth, std::string& text) {
  text += format("{:{}}{} (type {})\n", "", 2 * depth, device.id(), device.type());
  for (const Device* child : device.children()) print_device(*child, depth + 1, text);
}

Answer info_qtree(HmpContext& context, HmpWords words) {
  const RestingCpus resting(context.target.machine);
  std::string text;
  std::vector<std::string_view> ids;
  for (Device* device : context.target.machine.all_devices()) {
    if (words.empty() && !device->parent()) print_device(*device, 0, text);
    ids.push_back(device->id());
    if (!words.empty() && device->id() == words[0]) text += live_state(*device);
  }
  if (text.empty())
    return fail(Errc::NotFound, "info qtree: there is no device '{}'{}", words[0],
                suggestion(words[0], ids));
  return text;
}

// The states of the chips of these types, whichever engine has them: ours, or KVM's.
Result<std::vector<StateTree>> chips(HmpContext& context,
                                     std::initializer_list<std::string_view> types) {
  const RestingCpus resting(context.target.machine);
  std::vector<StateTree> states;
  for (Device* device : context.target.machine.all_devices())
    if (std::ranges::find(types, device->type()) != types.end())
      states.push_back(save_state(*device, device->id()));
  if (states.empty()) return fail(Errc::NotFound, "This machine has no such chip");
  return states;
}

// A part of a chip's saved state, as its struct.
template <class State>
Result<State> state_in(const StateTree& chip, std::string_view name) {
  State state;
  const StateTree* tree = chip.find(name);
  if (!tree) return fail(Errc::NotFound, "Chip '{}' tells nothing of its {}", chip.name, name);
  TRY(load_state(state, *tree));
  return state;
}

Answer info_pic(HmpContext& context, HmpWords) {
  std::string text;
  for (const StateTree& chip : TRY(chips(context, {"isa-i8259", "kvm-i8259"})))
    text +=
        print_pic(TRY(state_in<PicState>(chip, "master")), TRY(state_in<PicState>(chip, "slave")));
  return text;
}
Answer info_ioapic(HmpContext& context, HmpWords) {
  std::string text;
  for (const StateTree& chip : TRY(chips(context, {"ioapic", "kvm-ioapic"})))
    text += print_ioapic(TRY(state_in<IoapicState>(chip, "state")));
  return text;
}
// The chosen CPU's, or all.
Answer info_lapic(HmpContext& context, HmpWords words) {
  const bool all = !words.empty() && words[0] == "-a";
  const i64 now = context.target.machine.loop().virtual_time().now_ns();
  const u32 wanted = context.target.machine.topology().apic_id(context.cpu);
  std::string text;
  for (const StateTree& chip : TRY(chips(context, {"apic", "kvm-apic"}))) {
    const LapicState state = TRY(state_in<LapicState>(chip, "state"));
    if (all || state.id == wanted) text += print_lapic(state, now);
  }
  return text;
}

Answer info_mem(HmpContext& context, HmpWords) { return print_mapped_ranges(context); }
Answer info_tlb(HmpContext& context, HmpWords) { return print_mappings(context); }

Answer info_trace_events(HmpContext& context, HmpWords words) {
  std::string text;
  for (const TraceReply& event : TRY(trace_event_get_state(
           context.target, {.name = words.empty() ? "*" : std::string(words[0])})))
    text += format("{} : state {}\n", event.name, event.state == TraceState::Enabled ? 1 : 0);
  return text;
}

void print_objects(MonitorTarget& target, const std::string& path, size_t depth,
                   std::string& text) {
  const auto properties = qom_properties(target, path);
  if (!properties) return;
  for (const QomProperty& property : *properties) {
    constexpr std::string_view kChild = "child<";
    if (!property.type.starts_with(kChild)) continue;
    const std::string_view type = std::string_view(property.type).substr(kChild.size());
    text +=
        format("{:{}}/{} ({})\n", "", 2 * depth, property.name, type.substr(0, type.size() - 1));
    print_objects(target, format("{}/{}", path == "/" ? "" : path, property.name), depth + 1, text);
  }
}
Answer info_qom_tree(HmpContext& context, HmpWords words) {
  const std::string path = words.empty() ? "/" : std::string(words[0]);
  TRY(qom_properties(context.target, path));
  std::string text = path + "\n";
  print_objects(context.target, path, 1, text);
  return text;
}

Answer info_memory_size(HmpContext& context, HmpWords) {
  return format("base memory: {}\n", TRY(query_memory_size_summary(context.target, {})).base);
}

Answer info_memdev(HmpContext& context, HmpWords) {
  std::string text;
  for (const MemdevReply& m : TRY(query_memdev(context.target, {})))
    text += format("memory backend: {}\n  size:  {}\n  dump: {}\n  prealloc: {}\n  share: {}\n",
                   m.id.value_or(""), m.size, m.dump, m.prealloc, m.share);
  return text;
}

Answer info_hotpluggable_cpus(HmpContext& context, HmpWords) {
  std::string text = "CPU places:\n";
  for (const CpuSlotReply& slot : TRY(query_hotpluggable_cpus(context.target, {})))
    text += format("  type: \"{}\", socket {}, die {}, core {}, thread {}{}\n", slot.type,
                   slot.place.socket, slot.place.die, slot.place.core, slot.place.thread,
                   slot.qom_path ? ", at " + *slot.qom_path : std::string(", empty"));
  return text;
}

Answer info_irq(HmpContext& context, HmpWords) {
  Board& board = context.target.machine.board();
  if (!board.irqs() || !board.gsi_routing())
    return fail(Errc::NotFound, "This machine has no interrupt lines");
  return print_irqs(*board.irqs(), *board.gsi_routing());
}

Answer info_chardev(HmpContext& context, HmpWords) {
  std::string text;
  for (const Chardevs::Info& info : context.target.machine.chardevs().list())
    text += format("{}: filename={}\n", info.id, info.where);
  return text;
}

Answer info_block(HmpContext& context, HmpWords) {
  std::string text;
  for (const std::unique_ptr<Drive>& drive : context.target.machine.drives().all())
    text += format("{}: {} ({}{})\n", drive->options.id, drive->options.file_name(),
                   drive->options.format, drive->options.readonly ? ", read-only" : "");
  return text;
}

constexpr HmpCommand kSubjects[] = {
    {"version", "", "the version", info_version},
    {"status", "", "the run state", info_status},
    {"name", "", "the guest's name", info_name},
    {"uuid", "", "the machine's UUID", info_uuid},
    {"balloon", "", "how much RAM the guest keeps, in MiB", info_balloon},
    {"kvm", "", "whether KVM runs the guest, and what it has done", info_kvm},
    {"jit", "", "what the translator has done", info_jit},
    {"cpus", "", "the CPUs and their threads", info_cpus},
    {"registers", "[-a]", "the registers of the chosen CPU, or of all", info_registers},
    {"mtree", "[-f] [-o]", "memory and ports: as a tree or flat, with owners", info_mtree},
    {"pci", "", "the PCI devices", info_pci},
    {"qtree", "[device]", "the devices, or all about one of them", info_qtree},
    {"irq", "", "the interrupt lines that rose, how often, and where they go", info_irq},
    {"pic", "", "the 8259A interrupt controllers", info_pic},
    {"ioapic", "", "the I/O APIC", info_ioapic},
    {"lapic", "[-a]", "the local APIC of the chosen CPU, or all", info_lapic},
    {"mem", "", "the ranges that the page tables map, and their rights", info_mem},
    {"tlb", "", "every mapping of the page tables", info_tlb},
    {"qom-tree", "[path]", "the objects by their paths", info_qom_tree},
    {"memory_size_summary", "", "the amount of RAM", info_memory_size},
    {"memdev", "", "what the RAM is made of", info_memdev},
    {"hotpluggable-cpus", "", "the places for CPUs", info_hotpluggable_cpus},
    {"trace-events", "[pattern]", "the events that can be traced", info_trace_events},
    {"mice", "", "the mice and tablets, and which is in use", hmp::info_mice},
    {"vnc", "", "the VNC servers and their clients", hmp::info_vnc},
    {"screen", "[device]", "the screen's size, and what a text mode shows", hmp::info_screen},
    {"chardev", "", "the character devices", info_chardev},
    {"block", "", "the drives", info_block},
    {"block-jobs", "", "the block jobs and how far they are", hmp::info_block_jobs},
    {"network", "", "the network cards and back ends", hmp::info_network},
    {"usernet", "", "connections of the user networks", hmp::info_usernet},
};

}  // namespace

std::span<const HmpCommand> hmp_info_commands() { return kSubjects; }

}  // namespace menura
