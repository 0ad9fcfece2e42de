#include "accel/jit/vcpu_block.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <new>

#include "cpu/x86/segments.h"
#include "jit/ir/tables.h"

namespace menura::engine {

namespace {
// Room below the block: guest return predictions, and signal frames of a machine with AVX-512 state.
constexpr size_t kBelow = 64 * 1024;
constexpr size_t kMapping = kBelow + ((sizeof(VcpuBlock) + 4095) & ~size_t{4095});
}  // namespace

x64::Layout vcpu_layout() {
  using x86::Segment;
  using x86::State;
  static_assert(sizeof(std::atomic<u32>) == 4);
  x64::Layout l;
  l.gpr = offsetof(VcpuBlock, state) + offsetof(State, gpr);
  l.rip = offsetof(VcpuBlock, state) + offsetof(State, rip);
  l.segment_base = offsetof(VcpuBlock, state) + offsetof(State, seg) + offsetof(Segment, base);
  l.segment_stride = sizeof(Segment);
  l.read_ends = offsetof(VcpuBlock, read_ends);
  l.write_ends = offsetof(VcpuBlock, write_ends);
  l.vectors = offsetof(VcpuBlock, state) + offsetof(State, vec);
  l.mxcsr = offsetof(VcpuBlock, state) + offsetof(State, mxcsr);
  l.flags = offsetof(VcpuBlock, flags);
  l.poll = offsetof(VcpuBlock, poll);
  l.exit_info = offsetof(VcpuBlock, exit_info);
  l.host_rsp = offsetof(VcpuBlock, host_rsp);
  l.code = offsetof(VcpuBlock, code);
  l.pointer = offsetof(VcpuBlock, pointer);
  l.stash = offsetof(VcpuBlock, stash);
  l.pointers = offsetof(VcpuBlock, pointers);
  l.rflags = offsetof(VcpuBlock, state) + offsetof(State, rflags);
  l.kernel_gs = offsetof(VcpuBlock, state) + offsetof(State, kernel_gs_base);
  l.interrupt = offsetof(VcpuBlock, interrupt);
  l.tsc_offset = offsetof(VcpuBlock, tsc_offset);
  l.tsc_until = offsetof(VcpuBlock, tsc_until);
  l.tsc_aux = offsetof(VcpuBlock, state) + offsetof(State, tsc_aux);
  l.contexts = offsetof(VcpuBlock, contexts);
  l.targets = offsetof(VcpuBlock, targets);
  l.code_tag = offsetof(VcpuBlock, code_tag);
  l.load_table = offsetof(ir::Context, load);
  l.store_table = offsetof(ir::Context, store);
  l.tlb_mask = offsetof(ir::Context, mask);
  l.jumps = offsetof(ir::Context, jumps);
  l.code_pages = offsetof(ir::Context, code_pages);
  return l;
}

// Expand-down segments, and whatever forbids the access, end at 0: always left to the step.
void set_segment_ends(VcpuBlock& block) {
  const x86::State& s = block.state;
  const bool typed = x86::protected_mode(s);
  for (size_t i = 0; i < s.seg.size() && i < block.read_ends.size(); i++) {
    const x86::Segment& seg = s.seg[i];
    const bool code = seg.type() & 8, down = !code && (seg.type() & 4);
    const u64 end = down || (typed && seg.unusable) ? 0 : u64{seg.limit} + 1;
    block.read_ends[i] = !typed || !code || (seg.type() & 2) ? end : 0;
    block.write_ends[i] = !typed || (!code && (seg.type() & 2)) ? end : 0;
  }
}

Result<VcpuBlockPtr> map_vcpu_block() {
  void* at = mmap(nullptr, kMapping, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return fail_errno(errno, "Mapping a vCPU's {} bytes", kMapping);
  return VcpuBlockPtr(new (static_cast<char*>(at) + kBelow) VcpuBlock);
}

void VcpuBlockDeleter::operator()(VcpuBlock* block) const {
  block->~VcpuBlock();
  munmap(reinterpret_cast<char*>(block) - kBelow, kMapping);
}

u16 pack_flags(u64 rflags) {
  return static_cast<u16>((rflags & 0xd5) << 8 | 2 << 8 | (rflags & x86::kOf ? 1 : 0));
}

u64 unpack_flags(u64 rflags, u16 packed) {
  rflags &= ~static_cast<u64>(x86::kArithmeticFlags);
  return rflags | (packed >> 8 & 0xd5) | ((packed & 1) ? u64{x86::kOf} : 0);
}

}  // namespace menura::engine
