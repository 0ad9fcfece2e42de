// Delivery of interrupts and exceptions through the IVT, the IDT's gates and task gates.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §6 (and §6.15 for double faults).
// Faults met on the way become contributory faults, double faults, and at last a shutdown here.
// Example: `if (deliver_fault(state, bus, fault) == Delivery::Shutdown) return Exit::Reset;`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/smm.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

enum class Delivery : u8 {
  Done,     // state is at the handler's first instruction
  Shutdown  // triple fault
};

// Which instruction it is: virtual-8086 mode asks INT n alone for IOPL 3, and INT1 passes the DPL.
enum class SoftwareInterrupt : u8 { IntN, Int3, Into, Int1 };

// An exception: state.rip is what the handler shall see (of the instruction for faults, behind it
// for traps). Writes CR2 for page faults and DR6 for debug exceptions given in dr6_bits.
Delivery deliver_fault(State& state, CpuBus& bus, const Fault& fault, u64 dr6_bits = 0);

// An accepted external interrupt or NMI; also ends a HLT by the caller.
Delivery deliver_external(State& state, CpuBus& bus, u8 vector);
Delivery deliver_nmi(State& state, CpuBus& bus);

// INT n, INT3, INTO and INT1, completed by the handler's first instruction; `next_rip` is pushed.
// A fault (IOPL in virtual-8086 mode, the gate's DPL, ...) leaves the state as it was, but see
// task.h for task gates. Double faults are made when the caller delivers that fault.
OrFault<void> deliver_software(State& state, CpuBus& bus, u8 vector, u64 next_rip,
                               SoftwareInterrupt kind = SoftwareInterrupt::IntN);

}  // namespace menura::x86
