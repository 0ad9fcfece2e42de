// QMP commands that tell what this build has and can do: commands, types, options, machines, CPU
// models, devices. Everything comes from the tables that do the work.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&query_machines>("query-machines", "The machine types")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

// {"qemu": {"major": ...}, "package": "..."}: also in the greeting.
struct VersionReply {
  struct Qemu {
    u32 major = 0, minor = 0, micro = 0;
    void describe(PropertyVisitor& p);
  } qemu;
  std::string package;
  void describe(PropertyVisitor& p);
};
VersionReply version_reply();
Result<VersionReply> query_version(MonitorTarget& target, const Nothing&);

struct NamedReply {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<std::vector<NamedReply>> query_commands(MonitorTarget& target, const Nothing&);
Result<Value> query_qmp_schema(MonitorTarget& target, const Nothing&);

struct OptionQuery {
  std::string option;
  void describe(PropertyVisitor& p);
};
struct OptionReply {
  enum class Type : u8 { String, Boolean, Number, Size };
  struct Parameter {
    std::string name;
    Type type = Type::String;
    std::optional<std::string> help;
    std::optional<std::string> default_value;
    void describe(PropertyVisitor& p);
  };
  std::string option;
  std::vector<Parameter> parameters;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(OptionReply::Type);
Result<std::vector<OptionReply>> query_command_line_options(MonitorTarget& target,
                                                            const OptionQuery& query);

struct MachineReply {
  std::string name;
  std::optional<std::string> alias;
  std::optional<bool> is_default;
  u32 cpu_max = 1;
  bool hotpluggable_cpus = false;
  bool numa_mem_supported = false;
  bool deprecated = false;
  std::optional<std::string> default_ram_id;
  bool acpi = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<MachineReply>> query_machines(MonitorTarget& target, const Nothing&);

struct CurrentMachineReply {
  bool wakeup_suspend_support = true;
  void describe(PropertyVisitor& p);
};
Result<CurrentMachineReply> query_current_machine(MonitorTarget& target, const Nothing&);

enum class TargetArch : u8 { X86_64 };
std::span<const std::string_view> enum_names(TargetArch);
struct TargetReply {
  TargetArch arch = TargetArch::X86_64;
  void describe(PropertyVisitor& p);
};
Result<TargetReply> query_target(MonitorTarget& target, const Nothing&);

struct CpuModelReply {
  std::string name;
  bool migration_safe = false;
  bool is_static = false;
  std::vector<std::string> unavailable;
  std::string type;
  bool deprecated = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<CpuModelReply>> query_cpu_definitions(MonitorTarget& target, const Nothing&);

struct CpuModelInfo {
  std::string name;
  std::optional<Value> props;
  void describe(PropertyVisitor& p);
};
struct CpuModelExpansion {
  enum class Type : u8 { Static, Full };
  Type type = Type::Static;
  CpuModelInfo model;
  void describe(PropertyVisitor& p);
};
std::span<const std::string_view> enum_names(CpuModelExpansion::Type);
struct CpuModelExpansionReply {
  CpuModelInfo model;
  void describe(PropertyVisitor& p);
};
Result<CpuModelExpansionReply> query_cpu_model_expansion(MonitorTarget& target,
                                                         const CpuModelExpansion& query);

struct TypesQuery {
  std::string implements;
  bool abstract = false;
  void describe(PropertyVisitor& p);
};
struct TypeReply {
  std::string name;
  std::optional<std::string> parent;
  void describe(PropertyVisitor& p);
};
Result<std::vector<TypeReply>> qom_list_types(MonitorTarget& target, const TypesQuery& query);

struct PropertiesQuery {
  std::string type;
  void describe(PropertyVisitor& p);
};
struct PropertyReply {
  std::string name;
  std::string type;
  std::optional<std::string> description;
  std::optional<Value> default_value;
  void describe(PropertyVisitor& p);
};
// Errc::NotFound (DeviceNotFound) for a type that is no device of ours.
Result<std::vector<PropertyReply>> device_list_properties(MonitorTarget& target,
                                                          const PropertiesQuery& query);
// Of any type that qom-list-types names.
Result<std::vector<PropertyReply>> qom_list_properties(MonitorTarget& target,
                                                       const PropertiesQuery& query);

}  // namespace menura
