// What the JIT and its vCPUs count, and how `info jit` prints it.
//
// Owner: Translations and JitVcpu, which is read while it rests. Threads: theirs. Example:
//   std::string text = print_jit_info(accelerator.report(), tsc_khz);
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/types.h"
#include "jit/front/x86/mnemonic.h"

namespace menura::engine {

// Of the code that all vCPUs share, since the machine's start but where it says now.
struct TranslationStatistics {
  u64 blocks = 0, instructions = 0;     // translated
  u64 guest_bytes = 0, host_bytes = 0;  // of them
  u64 translation_ticks = 0;            // of the host's TSC, of all vCPUs
  u64 revived = 0;                      // used again after the guest wrote the same bytes
  u64 raced = 0;          // lost: another vCPU translated the same, or wrote the code meanwhile
  u64 invalidations = 0;  // writes to code,
  u64 dropped = 0;        // and the blocks they hit
  u64 evictions = 0;      // of segments
  u64 exclusive = 0;      // sections in which one vCPU ran alone
  u64 live = 0;           // blocks now,
  u64 links = 0, connected = 0;  // and the direct jumps between them
  u64 code = 0, code_size = 0;   // bytes now used of the code cache, and its size
  u64 segments = 0;
};

// Of a vCPU's tables.
struct FlushStatistics {
  u64 all = 0, local = 0;  // of everything, of all but global pages in one address space or all
  u64 pages = 0;           // single ones
  u64 switches = 0;        // to another address space's tables
};

struct JitStatistics {
  FlushStatistics flushes;
  u64 steps = 0;    // instructions executed outside of blocks
  u64 entries = 0;  // into translated code
  u64 misses = 0;   // look-ups beyond the jump cache
  u64 relaxed = 0;  // times it gave its host CPU away in a loop of PAUSE
  u64 tlb_misses = 0;
  u64 slow_accesses = 0;                        // of them: not to be done by translated code
  u64 compared = 0, compared_instructions = 0;  // blocks in lockstep, and what they executed
  std::array<u64, static_cast<size_t>(jit::x86::Mnemonic::Count)> stepped{};
};

struct JitReport {
  TranslationStatistics code;
  std::vector<JitStatistics> vcpus;
};

std::string print_jit_info(const JitReport& report, u64 tsc_khz);

}  // namespace menura::engine
