// `mce`: a hardware error that a CPU is to find in a bank of its machine check registers.
//
// Owner: control/monitor. Threads: under the machine lock. Source: Intel SDM vol. 3 §16.3 (banks),
// §16.4 (what the processor does). Example: `TRY(report_error(state, {.bank = 1, .status = status}));`
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

struct MachineCheck {
  u64 bank = 0;
  u64 status = 0;     // of the bank; with bit 61 (UC) the CPU takes #MC
  u64 mcgstatus = 0;  // IA32_MCG_STATUS from then on, of an uncorrected error
  u64 addr = 0, misc = 0;
};

// What the error does to the CPU. Errors: no such bank, an error without VAL, a bank that is off.
enum class ErrorEffect : u8 {
  Logged,    // or lost: the bank holds a worse one
  Raised,    // #MC is pending
  Shutdown,  // a second error under way, or CR4.MCE is clear
};
Result<ErrorEffect> report_error(x86::State& state, const MachineCheck& check);

Result<std::string> machine_check(HmpContext& context, HmpWords words);

}  // namespace menura::hmp
