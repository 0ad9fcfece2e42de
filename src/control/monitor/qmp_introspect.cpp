#include "control/monitor/qmp_introspect.h"

#include <algorithm>

#include "base/text.h"
#include "base/version.h"
#include "chardev/config.h"
#include "control/monitor/qmp_schema.h"
#include "control/options/option_table.h"
#include "cpu/x86/feature_names.h"
#include "cpu/x86/model.h"
#include "machine/catalogue/catalogue_tables.h"
#include "machine/catalogue/objects.h"

namespace menura {

void VersionReply::Qemu::describe(PropertyVisitor& p) {
  p.field("major", major);
  p.field("minor", minor);
  p.field("micro", micro);
}
void VersionReply::describe(PropertyVisitor& p) {
  p.field("qemu", qemu);
  p.field("package", package);
}
VersionReply version_reply() {
  return {.qemu = {kQemuVersion[0], kQemuVersion[1], kQemuVersion[2]},
          .package = format("menura {}", version())};
}
Result<VersionReply> query_version(MonitorTarget&, const Nothing&) { return version_reply(); }

void NamedReply::describe(PropertyVisitor& p) { p.field("name", name); }
Result<std::vector<NamedReply>> query_commands(MonitorTarget&, const Nothing&) {
  std::vector<NamedReply> replies;
  for (const Command& command : qmp_commands()) replies.push_back({std::string(command.name)});
  return replies;
}

Result<Value> query_qmp_schema(MonitorTarget&, const Nothing&) {
  return schema(qmp_commands(), qmp_events());
}

// The command line

namespace {

constexpr std::string_view kOptionTypes[] = {"string", "boolean", "number", "size"};

OptionReply::Type option_type(std::string_view type) {
  if (type == "bool") return OptionReply::Type::Boolean;
  if (type == "size") return OptionReply::Type::Size;
  if (type == "number" || type.starts_with("int") || type.starts_with("uint"))
    return OptionReply::Type::Number;
  return OptionReply::Type::String;
}

}  // namespace

std::span<const std::string_view> enum_names(OptionReply::Type) { return kOptionTypes; }
void OptionQuery::describe(PropertyVisitor& p) { p.field("option", option, "only about this one"); }
void OptionReply::Parameter::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("type", type);
  p.field("help", help);
  p.field("default", default_value);
}
void OptionReply::describe(PropertyVisitor& p) {
  p.field("option", option);
  p.field("parameters", parameters);
}
Result<std::vector<OptionReply>> query_command_line_options(MonitorTarget&,
                                                            const OptionQuery& query) {
  std::vector<OptionReply> replies;
  for (const Option& option : option_table()) {
    if (!option.properties || option.same_as_another) continue;
    if (!query.option.empty() && query.option != option.name) continue;
    OptionReply reply{.option = std::string(option.name), .parameters = {}};
    for (PropertyInfo& info : option.properties()) {
      OptionReply::Parameter parameter{.name = std::move(info.name),
                                       .type = option_type(info.type)};
      if (!info.help.empty()) parameter.help = std::move(info.help);
      if (!info.default_value.empty()) parameter.default_value = std::move(info.default_value);
      reply.parameters.push_back(std::move(parameter));
    }
    replies.push_back(std::move(reply));
  }
  if (replies.empty())
    return fail(Errc::InvalidArgument, "There is no option '{}' with parameters", query.option);
  return replies;
}

// Machines

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
    if (type.has_cpus) {
      reply.default_ram_id = "pc.ram";
      reply.acpi = true;
    }
    replies.push_back(std::move(reply));
  }
  return replies;
}

void CurrentMachineReply::describe(PropertyVisitor& p) {
  p.field("wakeup-suspend-support", wakeup_suspend_support);
}
Result<CurrentMachineReply> query_current_machine(MonitorTarget& target, const Nothing&) {
  return CurrentMachineReply{target.machine.type().has_cpus};
}

std::span<const std::string_view> enum_names(TargetArch) {
  static constexpr std::string_view kNames[] = {"x86_64"};
  return kNames;
}
void TargetReply::describe(PropertyVisitor& p) { p.field("arch", arch); }
Result<TargetReply> query_target(MonitorTarget&, const Nothing&) { return TargetReply{}; }

// CPU models

namespace {

constexpr std::string_view kExpansions[] = {"static", "full"};

std::string cpu_type(std::string_view model) { return format("{}-x86_64-cpu", model); }

// "max" and "host" are the host's, whatever that is.
bool follows_host(std::string_view model) { return model == "max" || model == "host"; }

bool has_feature(const std::vector<CpuidEntry>& leaves, const x86::CpuidBit& bit) {
  for (const CpuidEntry& e : leaves) {
    if (e.leaf != bit.leaf || e.subleaf.value_or(bit.subleaf) != bit.subleaf) continue;
    const u32 word = bit.in == &x86::CpuidLeaf::eax   ? e.eax
                     : bit.in == &x86::CpuidLeaf::ebx ? e.ebx
                     : bit.in == &x86::CpuidLeaf::ecx ? e.ecx
                                                      : e.edx;
    return word >> bit.number & 1;
  }
  return false;
}

}  // namespace

void CpuModelReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("migration-safe", migration_safe);
  p.field("static", is_static);
  p.field("unavailable-features", unavailable);
  p.field("typename", type);
  p.field("deprecated", deprecated);
}
Result<std::vector<CpuModelReply>> query_cpu_definitions(MonitorTarget& target, const Nothing&) {
  std::vector<CpuModelReply> replies;
  const std::vector<CpuidEntry> offered = target.machine.accelerator().supported_cpuid();
  for (const std::string_view name : x86::model_names()) {
    if (name == "host" && target.machine.accelerator().name() != "kvm") continue;
    x86::AppliedModel applied = TRY(x86::apply_model(name, offered));
    replies.push_back({.name = std::string(name),
                       .migration_safe = !follows_host(name),
                       .unavailable = std::move(applied.missing),
                       .type = cpu_type(name)});
  }
  return replies;
}

std::span<const std::string_view> enum_names(CpuModelExpansion::Type) { return kExpansions; }
void CpuModelInfo::describe(PropertyVisitor& p) {
  p.required("name", name, "of a model of query-cpu-definitions");
  p.field("props", props, "properties over the model's: {\"aes\": false}");
}
void CpuModelExpansion::describe(PropertyVisitor& p) {
  p.required("type", type, "static: over a model without features; full: all that is known");
  p.required("model", model, "the model to expand");
}
void CpuModelExpansionReply::describe(PropertyVisitor& p) { p.field("model", model); }

Result<CpuModelExpansionReply> query_cpu_model_expansion(MonitorTarget& target,
                                                         const CpuModelExpansion& query) {
  std::string text = query.model.name;
  if (query.model.props)
    if (const Value::Object* props = query.model.props->as<Value::Object>())
      for (const auto& [name, value] : *props)
        if (name != "migratable") text += format(",{}={}", name, detail::print_value(value));
  const x86::AppliedModel model =
      TRY(x86::apply_model(text, target.machine.accelerator().supported_cpuid()));
  Value props = Value::object();
  for (const x86::NamedFeature& feature : x86::named_features())
    props.set(feature.name, has_feature(model.leaves, feature.bit));
  CpuModelExpansionReply reply;
  reply.model.name = query.type == CpuModelExpansion::Type::Static ? "base" : query.model.name;
  reply.model.props = std::move(props);
  return reply;
}

// Types

void TypesQuery::describe(PropertyVisitor& p) {
  p.field("implements", implements,
          "device, accel, machine, cpu, chardev, user-creatable or object; all, if not given");
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
  const auto add = [&](std::string name, std::string_view parent) {
    replies.push_back({std::move(name), std::string(parent)});
  };
  const Catalogue& catalogue = target.machine.catalogue();
  if (wanted("device")) {
    for (const DeviceKind& device : catalogue.devices) add(std::string(device.name), "device");
    for (const BuiltInKind& device : catalogue.built_in) add(std::string(device.name), "device");
  }
  if (wanted("device") || wanted("cpu"))
    for (const std::string_view model : x86::model_names()) add(cpu_type(model), "x86_64-cpu");
  if (wanted("accel"))
    for (const AcceleratorKind& kind : accelerator_kinds(nullptr))
      if (!kind.foreign) add(format("{}-accel", kind.name == "jit" ? "tcg" : kind.name), "accel");
  if (wanted("machine"))
    for (const MachineType& type : catalogue.machines)
      add(format("{}-machine", type.name), "machine");
  if (wanted("chardev"))
    for (const ChardevKind& kind : chardev_kinds()) add(format("chardev-{}", kind.name), "chardev");
  if (wanted("user-creatable"))
    for (const ObjectKind& kind : object_kinds()) add(std::string(kind.name), "object");
  return replies;
}

void PropertiesQuery::describe(PropertyVisitor& p) {
  p.required("typename", type, "as qom-list-types names it");
}
void PropertyReply::describe(PropertyVisitor& p) {
  p.field("name", name);
  p.field("type", type);
  p.field("description", description);
  p.field("default-value", default_value);
}

namespace {

std::vector<PropertyReply> replies_of(std::vector<PropertyInfo> infos) {
  std::vector<PropertyReply> replies;
  for (PropertyInfo& info : infos) {
    PropertyReply reply{.name = std::move(info.name), .type = std::move(info.type)};
    if (!info.help.empty()) reply.description = std::move(info.help);
    if (!info.default_value.empty()) reply.default_value = std::move(info.default_value);
    replies.push_back(std::move(reply));
  }
  return replies;
}

std::optional<std::vector<PropertyInfo>> device_properties(const Catalogue& catalogue,
                                                           std::string_view name) {
  for (const DeviceKind& kind : catalogue.devices)
    if (kind.name == name) return kind.properties();
  for (const BuiltInKind& kind : catalogue.built_in)
    if (kind.name == name) return kind.properties();
  return {};
}

std::vector<PropertyInfo> cpu_properties() {
  std::vector<PropertyInfo> infos;
  for (const x86::NamedFeature& feature : x86::named_features())
    infos.push_back({.name = std::string(feature.name), .type = "bool"});
  return infos;
}

}  // namespace

Result<std::vector<PropertyReply>> device_list_properties(MonitorTarget& target,
                                                          const PropertiesQuery& query) {
  auto infos = device_properties(target.machine.catalogue(), query.type);
  if (!infos) return fail(Errc::NotFound, "No device type is called '{}'", query.type);
  return replies_of(std::move(*infos));
}

Result<std::vector<PropertyReply>> qom_list_properties(MonitorTarget& target,
                                                       const PropertiesQuery& query) {
  if (auto infos = device_properties(target.machine.catalogue(), query.type))
    return replies_of(std::move(*infos));
  for (const ObjectKind& kind : object_kinds())
    if (kind.name == query.type) return replies_of(kind.properties());
  if (query.type.ends_with("-machine")) return replies_of(list_properties(MachineOptions{}));
  for (const TypeReply& type : TRY(qom_list_types(target, {}))) {
    if (type.name != query.type) continue;
    if (type.parent == "x86_64-cpu") return replies_of(cpu_properties());
    return std::vector<PropertyReply>();
  }
  return fail(Errc::NotFound, "No type is called '{}'", query.type);
}

}  // namespace menura
