// Executor: what the execute_*.cpp files share: operands, stack and memory through segments.
//
// Owner: jit/front/x86 (private to it). Threads: the vCPU's. Spec: Intel SDM vol. 2.
// Example: `u64 value = TRY(x.read(0)); x.write(1, value);`
#pragma once

#include "cpu/x86/segments.h"
#include "jit/front/x86/execute.h"
#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

namespace cpu = menura::x86;
using cpu::OrFault;
using cpu::PageAccess;
using cpu::Privilege;
using cpu::SegReg;

class Executor {
 public:
  Executor(cpu::State& state, const Insn& insn, cpu::CpuBus& bus)
      : s(state), i(insn), bus(bus), next(state.rip + insn.length) {
    if (!s.code64()) next &= 0xffff'ffff;
  }

  cpu::State& s;
  const Insn& i;
  cpu::CpuBus& bus;
  u64 next;  // the following instruction

  bool bits64() const { return i.mode == Mode::Bits64; }
  u8 cpl() const { return s.cpl(); }

  // Operands by their order: general and segment registers, immediates, memory of at most 8 bytes.
  OrFault<u64> read(unsigned which);
  OrFault<void> write(unsigned which, u64 value);
  u64 gpr(unsigned number, unsigned size, bool high = false) const;
  void set_gpr(unsigned number, unsigned size, u64 value, bool high = false);

  OrFault<u64> address(unsigned size, PageAccess access) const {
    return operand_address(s, i, size, access);
  }
  OrFault<u64> load(SegReg seg, u64 offset, unsigned size);
  OrFault<void> store(SegReg seg, u64 offset, unsigned size, u64 value);

  // The stack: nothing moves until commit().
  unsigned stack_size() const { return bits64() ? 8 : s.seg[cpu::Ss].db() ? 4 : 2; }
  u64 stack_pointer() const { return gpr(cpu::Rsp, stack_size()); }
  void set_stack_pointer(u64 value) { write_masked(cpu::Rsp, stack_size(), value); }
  void write_masked(unsigned number, unsigned size, u64 value);
  OrFault<void> push(unsigned size, u64 value);
  OrFault<u64> pop(unsigned size);

  Outcome done() {
    s.rip = next;
    return Outcome::Done;
  }
  Outcome jump(u64 target) {
    s.rip = target;
    return Outcome::Done;
  }
};

u64 truncated(u64 value, unsigned bytes);

// The groups; Native where the mnemonic is none of theirs.
Outcome execute_stack(Executor& x);
Outcome execute_string(Executor& x);
Outcome execute_branch(Executor& x);
Outcome execute_far(Executor& x);
Outcome execute_system_call(Executor& x);
Outcome execute_flags(Executor& x);
Outcome execute_system(Executor& x);
Outcome execute_segments(Executor& x);
Outcome execute_state(Executor& x);
Outcome execute_io(Executor& x);
Outcome execute_legacy(Executor& x);

// Whether CPL and IOPL or the TSS's bitmap allow a port access; else #GP(0).
OrFault<void> check_ports(Executor& x, u16 port, unsigned size);

}  // namespace menura::jit::x86
