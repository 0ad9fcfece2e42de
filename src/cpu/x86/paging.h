// The page walker: linear to physical addresses by the guest's page tables, with every permission
// rule, fault code, and the accessed and dirty bits.
//
// Owner: cpu/x86. Threads: any; tables may change meanwhile, A and D are set by compare-exchange.
// Spec: Intel SDM vol. 3 §4. Deviation: PAE's four PDPTEs are read at each walk, not at MOV to CR3.
// Example: `Translation t = TRY(walk(state, bus, linear, {PageAccess::Write, state.cpl() == 3}));`
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::x86 {

struct WalkRequest {
  PageAccess access = PageAccess::Read;
  bool user = false;      // an access of CPL 3
  bool implicit = false;  // made by the processor itself: EFLAGS.AC does not lift SMAP
  bool set_bits = true;   // update accessed and dirty bits; false for debuggers
  u8 physical_bits = 46;  // MAXPHYADDR: bits above are reserved
};

struct Translation {
  u64 physical = 0;       // of the linear address asked for
  u64 page_size = 4096;   // of the mapping
  bool writable = false;  // a write by the same kind of access would succeed now, D is set
  bool global = false;    // survives a load of CR3
};

// The address must be canonical in long mode: the caller raises #GP or #SS before.
OrFault<Translation> walk(const State& state, PhysicalBus& memory, u64 linear,
                          const WalkRequest& request);

// Whether all bits above the linear-address width repeat the top bit.
bool canonical(const State& state, u64 linear);

}  // namespace menura::x86
