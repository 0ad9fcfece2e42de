#include "control/monitor/qom_tree.h"

#include <algorithm>

#include "base/text.h"
#include "control/monitor/qmp_balloon.h"
#include "cpu/x86/model.h"
#include "machine/chardevs.h"
#include "state/tree.h"

namespace menura {

namespace {

constexpr std::string_view kPeripheral = "/machine/peripheral";
constexpr std::string_view kAnonymous = "/machine/peripheral-anon";
constexpr std::string_view kUnattached = "/machine/unattached";

struct Object {
  std::string path;
  std::string type;
  Device* device = nullptr;
  const VcpuThread* cpu = nullptr;
};

// Named by the board after its driver: "isa-serial.14".
bool is_anonymous(const Device& device) {
  return device.id().starts_with(format("{}.", device.type()));
}

// Every object that has a path, parents first.
std::vector<Object> objects_of(MonitorTarget& target) {
  Machine& machine = target.machine;
  std::vector<Object> objects{{"/", "container"},
                              {"/machine", format("{}-machine", machine.type().name)},
                              {std::string(kPeripheral), "container"},
                              {std::string(kAnonymous), "container"},
                              {std::string(kUnattached), "container"},
                              {"/objects", "container"},
                              {"/chardevs", "container"}};
  for (const std::unique_ptr<VcpuThread>& cpu : machine.cpus())
    objects.push_back(
        {qom_path_of_cpu(cpu->index()), cpu_type_of(machine.config()), nullptr, cpu.get()});
  for (Device* device : machine.all_devices())
    objects.push_back({qom_path_of(machine, *device), std::string(device->type()), device});
  for (const Objects::Object& object : target.objects.all())
    objects.push_back({format("/objects/{}", object.id), object.kind});
  for (const Chardevs::Info& chardev : machine.chardevs().list())
    objects.push_back({format("/chardevs/{}", chardev.id), format("chardev-{}", chardev.kind)});
  return objects;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<Object> find_object(const std::vector<Object>& objects, std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  std::vector<std::string_view> names;
  const Object* found = nullptr;
  for (const Object& object : objects) {
    names.push_back(object.path);
    if (object.path == path) return object;
    const bool named = object.path.ends_with(format("/{}", path)) ||
                       (object.device && object.device->id() == path);
    if (path.starts_with('/') || !named) continue;
    if (found) return fail(Errc::NotFound, "There is more than one device '{}'", path);
    found = &object;
  }
  if (found) return *found;
  return fail(Errc::NotFound, "Device '{}' not found{}", path, suggestion(path, names));
}

std::string_view type_name(const StateTree& field) {
  switch (field.kind) {
    case StateTree::Kind::Integer: return "int";
    case StateTree::Kind::Boolean: return "bool";
    case StateTree::Kind::Text:
    case StateTree::Kind::Bytes: return "string";
    case StateTree::Kind::List: return "list";
    case StateTree::Kind::Struct: return "struct";
  }
  unreachable();
}

Result<Value> missing_features(MonitorTarget& target) {
  Value::List missing;
  for (std::string& name : TRY(x86::apply_model(target.machine.config().cpu,
                                                target.machine.accelerator().supported_cpuid()))
                               .missing)
    missing.emplace_back(std::move(name));
  return Value(std::move(missing));
}

// What a CPU tells; clients ask for each, so they are few.
constexpr std::pair<std::string_view, std::string_view> kCpuProperties[] = {
    {"realized", "bool"},
    {"hotplugged", "bool"},
    {"apic-id", "uint32"},
    {"unavailable-features", "strList"}};

Result<Value> cpu_value(MonitorTarget& target, const VcpuThread& cpu, std::string_view property) {
  if (property == "realized") return Value(true);
  if (property == "hotplugged") return Value(false);
  if (property == "apic-id") return Value(target.machine.topology().apic_id(cpu.index()));
  if (property == "unavailable-features") return missing_features(target);
  return fail(Errc::InvalidArgument, "A CPU has no property '{}'", property);
}

StateTree state_of(MonitorTarget& target, Device& device) {
  const RestingCpus resting(target.machine);
  return save_state(device, device.id());
}

}  // namespace

bool is_users(const MachineConfig& config, const Device& device) {
  return std::ranges::any_of(config.devices, [&](const NamedOptions& d) {
    return d.id == device.id() || (d.id.empty() && d.name == device.type() && is_anonymous(device));
  });
}

std::string cpu_type_of(const MachineConfig& config) {
  const std::string& model = config.cpu;
  return format("{}-x86_64-cpu", model.empty() ? "max" : model.substr(0, model.find(',')));
}

std::string qom_path_of_cpu(u32 index) { return format("{}/device[{}]", kUnattached, index); }

std::string qom_path_of(Machine& machine, const Device& device) {
  const bool users = is_users(machine.config(), device);
  if (users && !is_anonymous(device)) return format("{}/{}", kPeripheral, device.id());
  size_t index = users ? 0 : machine.cpus().size();
  for (const Device* other : machine.all_devices()) {
    if (other == &device) break;
    const bool same_folder = is_users(machine.config(), *other) == users;
    index += same_folder && (!users || is_anonymous(*other)) ? 1 : 0;
  }
  return format("{}/device[{}]", users ? kAnonymous : kUnattached, index);
}

Result<std::vector<QomProperty>> qom_properties(MonitorTarget& target, std::string_view path) {
  const std::vector<Object> objects = objects_of(target);
  const Object object = TRY(find_object(objects, path));
  std::vector<QomProperty> properties{{"type", "string"}};
  for (const Object& other : objects)
    if (other.path != "/" && parent_of(other.path) == object.path)
      properties.push_back(
          {other.path.substr(other.path.rfind('/') + 1), format("child<{}>", other.type)});
  if (object.cpu)
    for (const auto& [name, type] : kCpuProperties)
      properties.push_back({std::string(name), std::string(type)});
  if (object.path == "/machine")
    for (PropertyInfo& info : list_properties(target.machine.config().machine))
      if (info.name != "type") properties.push_back({std::move(info.name), std::move(info.type)});
  if (object.device)
    for (const StateTree& field : state_of(target, *object.device).children)
      properties.push_back({field.name, std::string(type_name(field))});
  return properties;
}

Result<Value> qom_value(MonitorTarget& target, std::string_view path, std::string_view property) {
  const Object object = TRY(find_object(objects_of(target), path));
  if (property == "type") return Value(object.type);
  if (object.cpu) return cpu_value(target, *object.cpu, property);
  if (object.path == "/machine") {
    const Value all = write_properties(target.machine.config().machine);
    if (const Value* value = all.find(property)) return *value;
  }
  if (object.device) {
    if (std::optional<Value> value = balloon_value(*object.device, property))
      return std::move(*value);
    const StateTree state = state_of(target, *object.device);
    if (const StateTree* field = state.find(property)) return to_value(*field);
  }
  return fail(Errc::InvalidArgument, "A {} has no property '{}'", object.type, property);
}

Result<Device*> qom_device(MonitorTarget& target, std::string_view path) {
  return TRY(find_object(objects_of(target), path)).device;
}

}  // namespace menura
