// The machine as a tree of objects by path, as qom-list and qom-get show it: /machine/peripheral/ID
// are the user's devices, /machine/unattached/device[N] the CPUs and then the board's chips,
// /objects/ID and /chardevs/ID what the command line and monitors made.
//
// Owner: control/monitor. Threads: under the machine lock. A device's properties are the fields of
// its state, read while all CPUs rest. Example: `Value v = TRY(qom_value(target, path, "type"));`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/monitor/monitor_target.h"

namespace menura {

struct QomProperty {
  std::string name;
  std::string type;  // "int", "string", "child<ide-hd>", ...
};

// Errc::NotFound (DeviceNotFound) when there is no such object; a path that does not begin with '/'
// is an object's name, or the end of one path only.
Result<std::vector<QomProperty>> qom_properties(MonitorTarget& target, std::string_view path);
Result<Value> qom_value(MonitorTarget& target, std::string_view path, std::string_view property);

// The device at a path; null where something else is.
Result<Device*> qom_device(MonitorTarget& target, std::string_view path);

std::string cpu_type_of(const MachineConfig& config);  // "max-x86_64-cpu"
std::string qom_path_of_cpu(u32 index);
std::string qom_path_of(Machine& machine, const Device& device);
// Whether the user added it, and named it or not.
bool is_users(const MachineConfig& config, const Device& device);

}  // namespace menura
