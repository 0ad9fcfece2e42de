// execute(): the semantics, in C++, of every instruction that the translator does not re-emit
// natively: control transfers, system and privileged instructions, segment loads, string and port
// instructions, legacy BCD, and so on. It is the JIT's tier 0 for them.
//
// Owner: jit/front/x86. Threads: the vCPU's. Spec: Intel SDM vol. 2. Example:
//   Outcome out = execute(state, insn, bus);
//   if (out.what == Outcome::Faulted) deliver_fault(state, bus, out.fault);
#pragma once

#include "cpu/x86/bus.h"
#include "cpu/x86/fault.h"
#include "cpu/x86/state.h"

namespace menura::jit::x86 {

namespace x86 = menura::x86;
struct Insn;

struct Outcome {
  enum What : u8 {
    Done,    // state.rip is at the next instruction to run
    Repeat,  // a REP instruction did a bounded part; state.rip still points at it
    Faulted,  // as `fault`; all but what the SDM lets stand (REP progress, CR2 excepted) is unchanged
    Trapped,   // completed, state.rip is behind it, and `fault` (#DB, or INT3/INTO/INT1) follows
    Halted,    // HLT or MWAIT: state.rip behind it, state.activity is Halted
    Shutdown,  // a triple fault inside a far transfer
    Native,    // not handled here: a native instruction
  };
  What what = Done;
  x86::Fault fault = {};

  Outcome(What kind) : what(kind) {}                      // NOLINT: implicit
  Outcome(x86::Fault why) : what(Faulted), fault(why) {}  // NOLINT: implicit
  Outcome(What kind, x86::Fault why) : what(kind), fault(why) {}
};

// Executes the one instruction at state.rip (insn.status is Ok). Privilege, mode, CR0.TS/EM and
// CR4.OSFXSR checks included; interrupts and single-step (TF) are the caller's. INT n is delivered
// inside. Clears state.interrupt_shadow first; MOV SS, POP SS and STI set it.
Outcome execute(x86::State& state, const Insn& insn, x86::CpuBus& bus);

// The checks made before any x87, MMX, SSE or AVX instruction, native ones as well: #UD by CR0.EM,
// CR4.OSFXSR/OSXSAVE and XCR0, #NM by CR0.TS and CR0.MP.
x86::OrFault<void> check_unit(const x86::State& state, const Insn& insn);

// The linear address of insn's memory operand of `size` bytes (0: address only) with segment limit,
// type and canonical checks.
x86::OrFault<u64> operand_address(const x86::State& state, const Insn& insn, unsigned size,
                                  x86::PageAccess access);
// The effective address (offset) alone, as LEA gives it.
u64 effective_address(const x86::State& state, const Insn& insn);

}  // namespace menura::jit::x86
