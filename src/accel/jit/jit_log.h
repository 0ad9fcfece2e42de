// What the code log (base/code_log.h) shows of the JIT. Each function looks itself whether anybody
// wants to know.
//
// Owner: JitVcpu. Threads: any. Example: `log_said(block, code);   // -d in_asm,op`
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cpu/x86/fault.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/state.h"
#include "jit/ir/block.h"

namespace menura::engine {

// A line per instruction: address, bytes, text. `code` begins at the first pc; the last is the end.
std::string print_guest_code(const ir::Key& key, std::span<const u64> pcs,
                             std::span<const u8> code);
void log_said(const ir::Block& block, std::span<const u8> code);
void log_optimised(const ir::Block& block);
// `host` as written, `runs_at` where it is executed.
void log_host_code(const ir::Block& block, std::span<const u8> host, const u8* runs_at);
void log_entry(const x86::State& state);
void log_fault(const x86::State& state, const x86::Fault& fault);
void log_interrupt(const x86::State& state, std::string_view kind, unsigned vector);
void log_cpu_reset(const x86::State& state);
// A TLB entry was made.
void log_fill(u64 linear, u64 physical, x86::PageAccess access);

}  // namespace menura::engine
