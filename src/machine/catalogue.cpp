#include "machine/catalogue.h"

#include <algorithm>

#include "base/text.h"

namespace menura {

Result<const MachineType*> Catalogue::find_machine(std::string_view name) const {
  std::vector<std::string_view> names;
  for (const MachineType& type : machines) {
    if (type.name == name || (!type.alias.empty() && type.alias == name)) return &type;
    names.push_back(type.name);
    if (!type.alias.empty()) names.push_back(type.alias);
  }
  return fail(Errc::NotFound, "There is no machine type '{}'{}; -machine help lists them", name,
              suggestion(name, names));
}

Result<const DeviceKind*> Catalogue::find_device(std::string_view name) const {
  std::vector<std::string_view> names;
  for (const DeviceKind& kind : devices) {
    if (kind.name == name) return &kind;
    names.push_back(kind.name);
  }
  return fail(Errc::NotFound, "There is no device '{}'{}; -device help lists them", name,
              suggestion(name, names));
}

bool Catalogue::takes_globals(std::string_view driver) const {
  const auto named = [&](const auto& kind) { return kind.name == driver; };
  return std::ranges::any_of(devices, named) || std::ranges::any_of(built_in, named);
}

}  // namespace menura
