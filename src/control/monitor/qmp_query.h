// QMP commands that ask.
//
// Owner: control/monitor. Threads: under the machine lock. Errors: as control/monitor/command.h.
// Example: `command<&query_status>("query-status", "The run state")`
#pragma once

#include "control/monitor/command.h"

namespace menura {

struct StatusReply {
  bool running = false;
  std::string status;
  void describe(PropertyVisitor& p);
};
Result<StatusReply> query_status(MonitorTarget& target, const Nothing&);

struct KvmReply {
  bool enabled = false;
  bool present = false;
  void describe(PropertyVisitor& p);
};
Result<KvmReply> query_kvm(MonitorTarget& target, const Nothing&);

// What QEMU calls HumanReadableText.
struct TextReply {
  std::string text;
  void describe(PropertyVisitor& p);
};
Result<TextReply> query_jit(MonitorTarget& target, const Nothing&);

struct CommandReply {
  std::string name;
  void describe(PropertyVisitor& p);
};
Result<std::vector<CommandReply>> query_commands(MonitorTarget& target, const Nothing&);

struct NameReply {
  std::optional<std::string> name;
  void describe(PropertyVisitor& p);
};
Result<NameReply> query_name(MonitorTarget& target, const Nothing&);

struct UuidReply {
  std::string uuid;
  void describe(PropertyVisitor& p);
};
Result<UuidReply> query_uuid(MonitorTarget& target, const Nothing&);

struct CpuReply {
  struct Place {
    u32 socket = 0, die = 0, core = 0, thread = 0;
    void describe(PropertyVisitor& p);
  };
  u32 index = 0;
  std::string qom_path;
  i32 thread_id = 0;
  Place place;
  std::string target;
  void describe(PropertyVisitor& p);
};
Result<std::vector<CpuReply>> query_cpus_fast(MonitorTarget& target, const Nothing&);

struct ChardevReply {
  std::string label;
  std::string filename;
  bool frontend_open = false;
  void describe(PropertyVisitor& p);
};
Result<std::vector<ChardevReply>> query_chardev(MonitorTarget& target, const Nothing&);

struct MachineReply {
  std::string name;
  std::optional<std::string> alias;
  std::optional<bool> is_default;
  u32 cpu_max = 1;
  bool hotpluggable_cpus = false;
  bool numa_mem_supported = false;
  bool deprecated = false;
  std::string default_ram_id;
  bool acpi = true;
  void describe(PropertyVisitor& p);
};
Result<std::vector<MachineReply>> query_machines(MonitorTarget& target, const Nothing&);

struct TargetReply {
  std::string arch;
  void describe(PropertyVisitor& p);
};
Result<TargetReply> query_target(MonitorTarget& target, const Nothing&);

struct TypesQuery {
  std::string implements;
  bool abstract = false;
  void describe(PropertyVisitor& p);
};
struct TypeReply {
  std::string name;
  std::string parent;
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
  std::string description;
  void describe(PropertyVisitor& p);
};
// Errc::NotFound (DeviceNotFound) for a type that is no device of ours.
Result<std::vector<PropertyReply>> device_list_properties(MonitorTarget& target,
                                                          const PropertiesQuery& query);

// {"qemu": {"major": ...}, "package": "..."}: also in the greeting.
Value version_value();
Result<Value> query_version(MonitorTarget& target, const Nothing&);

}  // namespace menura
