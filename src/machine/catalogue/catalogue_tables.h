// catalogue(): what this build of menura has: machine types, accelerators, devices.
//
// Owner: machine/catalogue (constant tables). Threads: immutable.
// Example: `auto machine = TRY(Machine::build(config, catalogue()));`
#pragma once

#include <vector>

#include "accel/registry.h"
#include "machine/catalogue.h"

namespace menura {

Catalogue catalogue();

// For `-accel help`; a machine gives the rows what they need to be created.
std::vector<AcceleratorKind> accelerator_kinds(Machine* machine);

std::span<const DeviceKind> device_kinds();

}  // namespace menura
