// Control, debug and extended control registers, and the changes of mode that writes to them make.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §2.5, §4.1, §10.9, §17.2; vol. 2 MOV.
// The caller has checked CPL 0 (SMSW aside); existence and reserved bits are checked here. A fault
// leaves the state as it was. TLBs are flushed as §4.10.4 says.
// Example: `TRY(write_control(state, bus, 3, value));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

// CR0, CR2, CR3, CR4 and CR8; others are #UD. Outside of 64-bit mode values are 32 bits wide.
OrFault<u64> read_control(const State& state, CpuBus& bus, unsigned number);
OrFault<void> write_control(State& state, CpuBus& bus, unsigned number, u64 value);
// LMSW: PE can be set, not cleared.
OrFault<void> load_machine_status(State& state, CpuBus& bus, u16 value);
void clear_task_switched(State& state);

// Bits of CR4 that the CPU model has.
u64 allowed_cr4(CpuBus& bus);

// A write to EFER (WRMSR): #GP for reserved bits and for LME while paging.
OrFault<void> write_efer(State& state, CpuBus& bus, u64 value);

// DR0-DR7: #UD for DR4 and DR5 under CR4.DE, #DB under DR7.GD (DR6.BD in `dr6_bits` of delivery).
OrFault<u64> read_debug(State& state, unsigned number);
OrFault<void> write_debug(State& state, unsigned number, u64 value);
inline constexpr u64 kDr6Bd = 1u << 13;

// XGETBV and XSETBV behind their CPL and CR4.OSXSAVE checks.
OrFault<u64> read_xcr(const State& state, u32 index);
OrFault<void> write_xcr(State& state, CpuBus& bus, u32 index, u64 value);

// CR3, INVLPG, INVPCID: what they name.
inline u16 current_pcid(const State& s) {
  return s.cr4 & kCr4Pcide ? static_cast<u16>(s.cr3 & 0xfff) : u16{0};
}

}  // namespace menura::x86
