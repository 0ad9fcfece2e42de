// The DSDT of a q35: a PCI Express host bridge with ECAM, eight PIRQ lines that are links for the
// 8259A and pins 16 to 23 of the IOAPIC.
//
// Owner: machine/tables. Threads: pure functions. Source: ACPI 6.4; PCI Firmware 3.2 §4 (_OSC, MCFG);
// Intel ICH9 data sheet 316972 §13.1. Example: `Aml code = build_q35_dsdt(config);`
#pragma once

#include "machine/tables/acpi.h"
#include "machine/tables/aml.h"

namespace menura {

aml::Aml build_q35_dsdt(const AcpiConfig& config);

}  // namespace menura
