// VcpuBlock: what host rsp points at while translated code runs: the guest's registers and the
// few words that the code shares with its engine.
//
// Owner: JitVcpu. Threads: the vCPU's, except `poll`. Design: docs/decisions/004-jit-host-code.md.
// Below it lies room for return addresses and for signal frames. Example: `auto block = TRY(map_vcpu_block());`
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "base/result.h"
#include "cpu/x86/state.h"
#include "jit/back/x64/layout.h"
#include "jit/ir/tables.h"

namespace menura::engine {

class JitVcpu;

// Why a vCPU shall come out of translated code: bits of VcpuBlock::poll.
namespace attention {
inline constexpr u32 kKick = 1, kIntr = 2, kNmi = 4, kSmi = 8, kInit = 16, kSipi = 32, kMemory = 64,
                     kSafepoint = 128;
}

struct VcpuBlock {
  x86::State state;
  u16 flags = 0;  // AH as LAHF gives it, AL = OF
  std::atomic<u32> poll{0};
  std::array<u64, 6> read_ends{}, write_ends{};  // of the segments: see x64::Layout
  u64 exit_info = 0;
  u64 host_rsp = 0;
  u64 code = 0;
  u64 pointer = 0;
  u64 stash = 0;
  std::array<u64, x64::kPointers> pointers{};
  std::atomic<u32> interrupt{0};  // one waits to be let in
  u64 tsc_offset = 0;             // guest TSC less host TSC
  u64 tsc_until = 0;              // see x64::Layout
  std::array<ir::Context*, 2> contexts{};
  ir::Target* targets = nullptr;  // kTargets of them
  u64 code_tag = ir::kNoTag;
  JitVcpu* owner = nullptr;
  // A copy of what lies in two pages, at the same place of its 64 bytes.
  alignas(64) std::array<std::byte, 256> straddling{};
};

// After a change of segments, or of the mode that gives them their meaning.
void set_segment_ends(VcpuBlock& block);

x64::Layout vcpu_layout();

struct VcpuBlockDeleter {
  void operator()(VcpuBlock* block) const;
};
using VcpuBlockPtr = std::unique_ptr<VcpuBlock, VcpuBlockDeleter>;
Result<VcpuBlockPtr> map_vcpu_block();

// State.rflags' status bits to and from the form that translated code wants.
u16 pack_flags(u64 rflags);
u64 unpack_flags(u64 rflags, u16 packed);

}  // namespace menura::engine
