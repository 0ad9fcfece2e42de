// The DSDT of the i440FX PC: its bridges, interrupt links, legacy devices and sleep states.
//
// Owner: machine/tables. Threads: pure functions. Source: ACPI 6.4, 82371AB data sheet (PIRQ
// registers at 60h-63h of the ISA bridge). Example: `Aml code = build_pc_dsdt(config);`
#pragma once

#include "machine/tables/acpi.h"
#include "machine/tables/aml.h"

namespace menura {

aml::Aml build_pc_dsdt(const AcpiConfig& config);

}  // namespace menura
