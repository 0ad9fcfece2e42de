// System-management mode: the way in at an SMI, and RSM.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: AMD APM vol. 2 §10.2 (the AMD64 save-state map, which
// firmware tells by its revision). Example: `if (!resume_from_smm(state, bus)) shut_down();`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// A system-management interrupt: saves the state at SMBASE and enters SMM.
void enter_smm(State& state, CpuBus& bus);

// RSM; state.in_smm holds (else the caller raises #UD). False when the saved state is not one that
// a CPU can be in: a shutdown, with the state as it was.
bool resume_from_smm(State& state, CpuBus& bus);

}  // namespace menura::x86
