// What a JIT vCPU counts, and how `info jit` prints it.
//
// Owner: JitVcpu; read while it rests. Threads: the vCPU's. Example:
//   std::string text = print_jit_info(accelerator.reports());
#pragma once

#include <array>
#include <span>
#include <string>

#include "base/types.h"
#include "jit/front/x86/mnemonic.h"

namespace menura::engine {

struct JitStatistics {
  u64 blocks = 0, instructions = 0;  // translated, all told
  u64 steps = 0;                     // instructions executed outside of blocks
  u64 misses = 0;                    // looked up and not found: translated
  u64 flushes = 0, invalidations = 0;
  u64 guest_bytes = 0, host_bytes = 0;  // of the blocks translated
  u64 translation_ticks = 0;            // of the host's TSC
  u64 tlb_misses = 0;
  u64 slow_accesses = 0;  // of them: not to be done by translated code
  std::array<u64, static_cast<size_t>(jit::x86::Mnemonic::Count)> stepped{};
};

// One vCPU's at one moment.
struct JitReport {
  JitStatistics counted;
  u64 blocks = 0;                // that live now
  u64 links = 0, connected = 0;  // direct jumps between them
  u64 code = 0, code_size = 0;   // bytes used of the code cache, and its size
};

std::string print_jit_info(std::span<const JitReport> reports, u64 tsc_khz);

}  // namespace menura::engine
