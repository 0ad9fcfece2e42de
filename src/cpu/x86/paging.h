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

// A table on the way to a page, and what the entries above it grant: what processors keep in their
// paging-structure caches (Intel SDM vol. 3 §4.10.3). Forgotten with the TLB and at each INVLPG.
struct WalkFrom {
  unsigned level = 0;  // 1: the table that maps 4 KiB pages; 0: none
  u64 region = 0;      // the linear address without the bits below this table
  u64 table = 0;       // physical
  u64 rights = 0;
  bool no_execute = false;
};

struct Translation {
  u64 physical = 0;       // of the linear address asked for
  u64 page_size = 4096;   // of the mapping
  bool writable = false;  // a write by the same kind of access would succeed now, D is set
  bool global = false;    // survives a load of CR3
  WalkFrom from = {};     // the last table, when tables have 512 entries
};

// The address must be canonical in long mode: the caller raises #GP or #SS before.
// `from`: where an earlier walk ended, of the same region.
OrFault<Translation> walk(const State& state, PhysicalBus& memory, u64 linear,
                          const WalkRequest& request, const WalkFrom* from = nullptr);

// Whether all bits above the linear-address width repeat the top bit.
bool canonical(const State& state, u64 linear);

}  // namespace menura::x86
