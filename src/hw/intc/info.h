// The interrupt chips' states in words: `info pic`, `info ioapic`, `info lapic`, `info irq`.
//
// Owner: hw/intc, for the monitor. Threads: pure functions on states, which come from these chips
// or from an accelerator's. Example: `text += print_lapic(lapic.state(), time.now_ns());`
#pragma once

#include <string>

#include "hw/intc/gsi_routing.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/irq_statistics.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"

namespace menura {

// Each ends in a newline.
std::string print_pic(const PicState& master, const PicState& slave);
std::string print_ioapic(const IoapicState& state);
std::string print_lapic(const LapicState& state, i64 now_ns);
// One line a GSI that ever rose, with its targets.
std::string print_irqs(const IrqStatistics& statistics, const GsiRouting& routing);

}  // namespace menura
