#include "accel/jit/jit_log.h"

#include <array>

#include "base/code_log.h"
#include "base/format.h"
#include "jit/back/x64/disassemble.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"
#include "jit/front/x86/translate.h"

namespace menura::engine {

namespace {

bool wanted(LogItem item, u64 pc) { return code_logged(item) && code_log_wants(pc); }

std::string guest_code(const ir::Block& block, std::span<const u8> code) {
  return print_guest_code(block.key, block.pcs, code);
}

}  // namespace

std::string print_guest_code(const ir::Key& key, std::span<const u64> pcs,
                             std::span<const u8> code) {
  using namespace jit::x86;
  const Decoder decoder{static_cast<Mode>(key.mode & mode_bit::kCodeSize), FeatureSet::all()};
  std::string text;
  for (size_t i = 0; i + 1 < pcs.size(); ++i) {
    const u64 pc = pcs[i];
    const std::span<const u8> bytes = code.subspan(pc - key.pc).first(pcs[i + 1] - pc);
    std::string hex;
    for (const u8 byte : bytes) hex += format("{:02x}", byte);
    text += format("{:#018x}:  {:<22} {}\n", pc, hex, print(decoder.decode(bytes), pc));
  }
  return text;
}

void log_said(const ir::Block& block, std::span<const u8> code) {
  const u64 pc = block.key.pc;
  if (wanted(LogItem::InAsm, pc))
    code_log(
        format("----------------\nIN: mode {:#x}\n{}\n", block.key.mode, guest_code(block, code)));
  if (wanted(LogItem::Op, pc)) code_log(format("OP:\n{}\n", ir::print(block)));
}

void log_optimised(const ir::Block& block) {
  if (wanted(LogItem::OpOpt, block.key.pc))
    code_log(format("OP after optimization:\n{}\n", ir::print(block)));
}

void log_host_code(const ir::Block& block, std::span<const u8> host, const u8* runs_at) {
  if (wanted(LogItem::OutAsm, block.key.pc))
    code_log(format("OUT: [size={}]\n{}\n", host.size(),
                    x64::disassemble(host, reinterpret_cast<u64>(runs_at))));
}

void log_entry(const x86::State& s) {
  if (wanted(LogItem::Exec, s.rip))
    code_log(format("Trace: {:#018x} cs={:04x} cpl={} rflags={:#x}\n", s.rip,
                    s.seg[x86::Cs].selector, s.cpl(), s.rflags));
  if (wanted(LogItem::Cpu, s.rip)) {
    const bool fpu = code_logged(LogItem::Fpu);
    code_log(fpu ? x86::print_registers(s) : x86::print_general_registers(s));
  }
}

void log_fault(const x86::State& s, const x86::Fault& fault) {
  if (!wanted(LogItem::Int, s.rip)) return;
  code_log(
      format("exception v={:02x} e={:04x} cpl={} ip={:04x}:{:#018x} sp={:04x}:{:#018x}{}\n",
             fault.vector, fault.error_code, s.cpl(), s.seg[x86::Cs].selector, s.rip,
             s.seg[x86::Ss].selector, s.gpr[x86::Rsp],
             fault.vector == x86::kPfault ? format(" cr2={:#018x}", fault.cr2) : std::string()));
}

void log_interrupt(const x86::State& s, std::string_view kind, unsigned vector) {
  if (!wanted(LogItem::Int, s.rip)) return;
  code_log(format("{} v={:02x} cpl={} ip={:04x}:{:#018x} sp={:04x}:{:#018x}\n", kind, vector,
                  s.cpl(), s.seg[x86::Cs].selector, s.rip, s.seg[x86::Ss].selector,
                  s.gpr[x86::Rsp]));
}

void log_cpu_reset(const x86::State& s) {
  if (code_logged(LogItem::CpuReset)) code_log("CPU reset\n" + x86::print_registers(s));
}

void log_fill(u64 linear, u64 physical, x86::PageAccess access) {
  constexpr std::array<std::string_view, 3> kNames{"read", "write", "fetch"};
  if (wanted(LogItem::Mmu, linear))
    code_log(format("mmu {} {:#018x} -> {:#x}\n", kNames[static_cast<size_t>(access)], linear,
                    physical));
}

}  // namespace menura::engine
