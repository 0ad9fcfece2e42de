// Catalogue: what exists: machine types, accelerators, and devices that users may add. Filled in by
// machine/catalogue from explicit tables; help texts and did-you-mean come from the rows.
//
// Owner: the program (constant). Threads: immutable. Example:
//   const DeviceKind* kind = TRY(catalogue.find_device("isa-debugcon"));
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "accel/accelerator.h"
#include "base/result.h"
#include "hw/core/device.h"
#include "machine/board.h"
#include "state/properties.h"

namespace menura {

// A row of `-device help`.
struct DeviceKind {
  std::string_view name;
  std::string_view bus;       // "ISA", "PCI", "IDE"
  std::string_view category;  // "Input devices", "Misc devices", ...: as the help groups them
  std::string_view description;
  std::vector<PropertyInfo> (*properties)();
  // Reads the options (without driver and id), makes the device and plugs it.
  Result<std::unique_ptr<Device>> (*make)(Machine& machine, const std::string& id,
                                          const Value& options);
  // Other devices may hang on it, by which it stays as long as the machine.
  bool has_buses = false;
};

// A device of the boards themselves whose properties -global sets.
struct BuiltInKind {
  std::string_view name;
  std::vector<PropertyInfo> (*properties)();
};

struct Catalogue {
  std::span<const MachineType> machines;
  std::span<const DeviceKind> devices;
  std::span<const BuiltInKind> built_in;
  // Tries what the configuration names, in order; warns of those that did not work.
  Result<std::unique_ptr<Accelerator>> (*choose_accelerator)(Machine& machine,
                                                             const AcceleratorContext& context);

  // By name or alias, with did-you-mean.
  Result<const MachineType*> find_machine(std::string_view name) const;
  Result<const DeviceKind*> find_device(std::string_view name) const;
  bool takes_globals(std::string_view driver) const;
};

}  // namespace menura
