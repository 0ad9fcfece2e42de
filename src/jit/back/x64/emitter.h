// The x64 back end: emits host code for blocks, and the routines that lead in and out of it.
//
// Owner: jit/back/x64. Threads: one Emitter per thread; the memory written must not run meanwhile.
// Design: docs/decisions/004-jit-host-code.md. Example:
//   Emitter emitter(layout);
//   Routines r = emitter.routines(writable, room);
//   Compiled c = emitter.compile(block, writable_at, room, r, offset_of(writable_at));
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "jit/back/x64/layout.h"
#include "jit/ir/block.h"

namespace menura::x64 {

// Addresses in the writable alias. `enter` is void(vcpu_block, code): code as block.code.
struct Routines {
  const u8* enter = nullptr;
  const u8* exit = nullptr;        // r10 = pc, r11 = exit_info
  const u8* exit_saved = nullptr;  // the same with saved flags
  const u8* exit_here = nullptr;   // rip and exit_info are set: for signal handlers
  const u8* exit_here_saved = nullptr;
  const u8* miss = nullptr;     // r10 = pc, flags saved: the jump cache's empty entry
  const u8* look_up = nullptr;  // the same, and the engine is to find the block
  const u8* step = nullptr;     // called with r10 = pc, r11 = an ir::Foreign or 0, flags saved
  // Called with the flags saved. A part of a repeated string instruction; RCX says what is left,
  // for which the engine is needed. By log2 of the element's size.
  std::array<const u8*, 4> repeat_move{}, repeat_store{};
  const u8* slow_load = nullptr;
  const u8* slow_store = nullptr;
  size_t size = 0;
};

// Called by translated code on a TLB miss: host memory for `size` bytes at `linear`, or null after
// it has set rip and exit_info.
using SlowPath = void* (*)(void* vcpu, u64 linear, u32 size, const void* site);

// Called by translated code for an instruction that the engine executes: at rip, as described, or
// to be fetched when null. Gives back where to go on: `back`, another entry that takes r10 == rip and
// saved flags, or null after it has set exit_info. All of the guest's state is in the vCPU block.
using StepPath = const void* (*)(void* vcpu, const void* foreign, const void* back);

// What translated code calls.
struct Callees {
  SlowPath load, store;
  StepPath step;
};

// A place in host code that can leave it in the middle of the block: behind a slow path's call, or
// a native instruction that the host may fault on.
struct Site {
  u32 offset = 0;  // of the return address, or of the instruction
  u16 insn = 0;
  bool flags_saved = false;  // the guest's flags are in the vCPU block
  u16 borrowed = 0;          // guest registers whose value is in the vCPU block
};

// A direct jump that may be pointed at its target's code.
struct Link {
  u32 field = 0;  // offset of the 32-bit displacement, inside 8 aligned bytes
  u32 stub = 0;   // offset of where it leads unlinked
  u64 pc = 0;
  bool flags_saved = false;  // it leads to the target's entry_saved
};

struct Compiled {
  u32 code = 0;  // bytes of instructions; data behind them
  u32 size = 0;  // 0: no room
  // Offsets of the entries: the first instruction; with saved flags; with saved flags and r10, which
  // it compares with the block's pc.
  u32 entry = 0, entry_saved = 0, checked = 0;
  std::vector<Site> sites;
  std::vector<Link> links;
};

// exit_info: an ir::ExitReason in bits 7:0; for linkable exits, above, the field of the link as an
// offset into the code cache, never 0.
constexpr u64 exit_info(ir::ExitReason reason, u64 link = 0) {
  return static_cast<u64>(reason) | link << 8;
}

// The guest's flags are in the host's or saved in the vCPU block (Layout::flags), or in both: a check
// destroys the host's, so they are saved before it if anyone may want them, and brought back only for
// an instruction that does. Ways between blocks that go through the jump cache carry saved flags.
class Emitter {
 public:
  Emitter(const Layout& layout, const Callees& callees);
  ~Emitter();
  Routines routines(u8* at, size_t room);
  // `origin` is at's offset into the code cache.
  Compiled compile(const ir::Block& block, u8* at, size_t room, const Routines& routines,
                   u64 origin);

 private:
  Layout layout_;
  Callees callees_;
};

// Whether this host has what translated code uses (AVX, BMI2, FSGSBASE), else what is missing.
std::string_view missing_host_feature();

}  // namespace menura::x64
