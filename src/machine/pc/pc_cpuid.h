// The CPUID of one of a PC's CPUs: what the accelerator offers, with the topology and the CPU's
// APIC ID written in.
//
// Owner: machine/pc. Threads: pure functions. Source: Intel SDM vol. 2 "CPUID" (leaves 1, 4, 0Bh),
// AMD APM vol. 3 appendix E (8000_0008h, 8000_001Eh).
#pragma once

#include <vector>

#include "accel/accelerator.h"
#include "machine/config.h"

namespace menura {

std::vector<CpuidEntry> pc_cpuid(std::vector<CpuidEntry> offered, const Topology& topology,
                                 unsigned cpu_index);

}  // namespace menura
