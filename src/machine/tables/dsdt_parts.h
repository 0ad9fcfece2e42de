// What the DSDTs of all PCs have in common.
//
// Owner: machine/tables. Threads: pure functions. Source: ACPI 6.4 chapters 6, 7 and 20. Example:
//   Aml code = join({scope("\\_SB", {...}), processors(config), common_devices(config)});
#pragma once

#include <string_view>

#include "machine/tables/acpi.h"
#include "machine/tables/aml.h"

namespace menura {

inline constexpr unsigned kPciSlots = 32;
inline constexpr unsigned kPciPins = 4;

// A PIRQ line as a device: its route register lies in the ISA bridge; bit 7 disables it.
aml::Aml interrupt_link(std::string_view link, std::string_view route, unsigned uid);
// The bridge at _ADR `address` with what hangs on it; its region PIRQ: registers from 60h on.
aml::Aml isa_bridge(u32 address, u64 route_registers);
// The windows of the host bridge, around ECAM.
aml::Aml host_bridge_resources(const AcpiConfig& config);
aml::Aml processors(const AcpiConfig& config);
// HPET, pvpanic, sleep states: what there is.
aml::Aml common_objects(const AcpiConfig& config);

}  // namespace menura
