#include "control/monitor/qmp_query.h"

#include <unistd.h>

#include "accel/jit/jit_accelerator.h"
#include "base/version.h"
#include "control/options/program_options.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/chardevs.h"

namespace menura {

void StatusReply::describe(PropertyVisitor& p) {
  p.field("running", running);
  p.field("status", status);
}
Result<StatusReply> query_status(MonitorTarget& target, const Nothing&) {
  const RunState state = target.machine.run_state();
  return StatusReply{target.machine.running(),
                     std::string(enum_names(state)[static_cast<size_t>(state)])};
}

void KvmReply::describe(PropertyVisitor& p) {
  p.field("enabled", enabled);
  p.field("present", present);
}
Result<KvmReply> query_kvm(MonitorTarget& target, const Nothing&) {
  const bool enabled = target.machine.accelerator().name() == "kvm";
  return KvmReply{enabled, enabled || ::access("/dev/kvm", R_OK | W_OK) == 0};
}

void TextReply::describe(PropertyVisitor& p) { p.field("human-readable-text", text); }
Result<TextReply> query_jit(MonitorTarget& target, const Nothing&) {
  Machine& machine = target.machine;
  if (machine.accelerator().name() != "jit")
    return fail(Errc::Unsupported, "JIT information is only available with accel=jit");
  const RestingCpus resting(machine);
  const auto& jit = static_cast<JitAccelerator&>(machine.accelerator());
  return TextReply{engine::print_jit_info(jit.report(), jit.tsc_khz())};
}

void CommandReply::describe(PropertyVisitor& p) { p.field("name", name); }
Result<std::vector<CommandReply>> query_commands(MonitorTarget&, const Nothing&) {
  std::vector<CommandReply> replies;
  for (const Command& command : qmp_commands()) replies.push_back({std::string(command.name)});
  return replies;
}

void NameReply::describe(PropertyVisitor& p) { p.field("name", name); }
Result<NameReply> query_name(MonitorTarget& target, const Nothing&) {
  const std::string& name = target.machine.config().name;
  return NameReply{name.empty() ? std::nullopt : std::optional(name)};
}

void UuidReply::describe(PropertyVisitor& p) { p.field("UUID", uuid); }
Result<UuidReply> query_uuid(MonitorTarget& target, const Nothing&) {
  std::string text;
  for (size_t i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += format("{:02x}", target.machine.config().uuid[i]);
  }
  return UuidReply{text};
}

void CpuReply::Place::describe(PropertyVisitor& p) {
  p.field("socket-id", socket);
  p.field("die-id", die);
  p.field("core-id", core);
  p.field("thread-id", thread);
}
void CpuReply::describe(PropertyVisitor& p) {
  p.field("cpu-index", index);
  p.field("qom-path", qom_path);
  p.field("thread-id", thread_id);
  p.field("props", place);
  p.field("target", target);
}
Result<std::vector<CpuReply>> query_cpus_fast(MonitorTarget& target, const Nothing&) {
  const Topology& t = target.machine.topology();
  std::vector<CpuReply> replies;
  for (const std::unique_ptr<VcpuThread>& cpu : target.machine.cpus()) {
    const u32 i = cpu->index();
    replies.push_back({.index = i,
                       .qom_path = format("/machine/unattached/device[{}]", i),
                       .thread_id = cpu->thread_id(),
                       .place = {.socket = i / (t.threads * t.cores * t.dies),
                                 .die = i / (t.threads * t.cores) % t.dies,
                                 .core = i / t.threads % t.cores,
                                 .thread = i % t.threads},
                       .target = "x86_64"});
  }
  return replies;
}

void ChardevReply::describe(PropertyVisitor& p) {
  p.field("label", label);
  p.field("filename", filename);
  p.field("frontend-open", frontend_open);
}
Result<std::vector<ChardevReply>> query_chardev(MonitorTarget& target, const Nothing&) {
  std::vector<ChardevReply> replies;
  for (Chardevs::Info& info : target.machine.chardevs().list())
    replies.push_back({std::move(info.id), std::move(info.where), info.connected});
  return replies;
}

void MachineReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("alias", alias);
  p.field("is-default", is_default);
  p.field("cpu-max", cpu_max);
  p.field("hotpluggable-cpus", hotpluggable_cpus);
  p.field("numa-mem-supported", numa_mem_supported);
  p.field("deprecated", deprecated);
  p.field("default-ram-id", default_ram_id);
  p.field("acpi", acpi);
}
Result<std::vector<MachineReply>> query_machines(MonitorTarget& target, const Nothing&) {
  std::vector<MachineReply> replies;
  for (const MachineType& type : target.machine.catalogue().machines) {
    MachineReply reply{.name = std::string(type.name)};
    if (!type.alias.empty()) reply.alias = type.alias;
    if (type.is_default) reply.is_default = true;
    reply.cpu_max = type.max_cpus;
    reply.default_ram_id = "pc.ram";
    replies.push_back(std::move(reply));
  }
  return replies;
}

void TargetReply::describe(PropertyVisitor& p) { p.field("arch", arch); }
Result<TargetReply> query_target(MonitorTarget&, const Nothing&) { return TargetReply{"x86_64"}; }

void TypesQuery::describe(PropertyVisitor& p) {
  p.field("implements", implements, "device, accel or machine; all, if not given");
  p.field("abstract", abstract, "also types of which there are no objects (there are none)");
}
void TypeReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("parent", parent);
}
// Accelerators have the names by which clients look for them: the JIT's is TCG's.
Result<std::vector<TypeReply>> qom_list_types(MonitorTarget& target, const TypesQuery& query) {
  std::vector<TypeReply> replies;
  const auto wanted = [&](std::string_view kind) {
    return query.implements.empty() || query.implements == "object" || query.implements == kind;
  };
  if (wanted("device"))
    for (const DeviceKind& device : target.machine.catalogue().devices)
      replies.push_back({std::string(device.name), "device"});
  if (wanted("accel"))
    for (const AcceleratorKind& kind : accelerator_kinds(nullptr))
      if (!kind.foreign)
        replies.push_back({format("{}-accel", kind.name == "jit" ? "tcg" : kind.name), "accel"});
  if (wanted("machine"))
    for (const MachineType& type : target.machine.catalogue().machines)
      replies.push_back({format("{}-machine", type.name), "machine"});
  return replies;
}

void PropertiesQuery::describe(PropertyVisitor& p) {
  p.required("typename", type, "as qom-list-types names it");
}
void PropertyReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("type", type);
  p.field("description", description);
}
Result<std::vector<PropertyReply>> device_list_properties(MonitorTarget& target,
                                                          const PropertiesQuery& query) {
  const DeviceKind* kind = TRY(target.machine.catalogue().find_device(query.type));
  std::vector<PropertyReply> replies;
  for (PropertyInfo& info : kind->properties())
    replies.push_back({std::move(info.name), std::move(info.type), std::move(info.help)});
  return replies;
}

Value version_value() {
  Value qemu = Value::object();
  qemu.set("major", kQemuVersion[0]);
  qemu.set("minor", kQemuVersion[1]);
  qemu.set("micro", kQemuVersion[2]);
  Value version_of_menura = Value::object();
  version_of_menura.set("qemu", std::move(qemu));
  version_of_menura.set("package", format("menura {}", version()));
  return version_of_menura;
}
Result<Value> query_version(MonitorTarget&, const Nothing&) { return version_value(); }

}  // namespace menura
