// Stands in for the instruction semantics until jit/front/x86 has them: HLT ends a test's program,
// and any exception ends it too.
#include "cpu/x86/delivery.h"
#include "jit/front/x86/execute.h"
#include "jit/front/x86/insn.h"

namespace menura::jit::x86 {

Outcome execute(x86::State& state, const Insn& insn, x86::CpuBus&) {
  if (insn.mnemonic != Mnemonic::Hlt) return x86::undefined_opcode();
  state.rip += insn.length;
  state.activity = x86::Activity::Halted;
  return Outcome::Halted;
}

x86::OrFault<void> check_unit(const x86::State&, const Insn&) { return {}; }

}  // namespace menura::jit::x86

namespace menura::x86 {

Delivery deliver_fault(State&, CpuBus&, const Fault&, u64) { return Delivery::Shutdown; }
Delivery deliver_external(State&, CpuBus&, u8) { return Delivery::Shutdown; }
Delivery deliver_nmi(State&, CpuBus&) { return Delivery::Shutdown; }
void enter_smm(State&, CpuBus&) {}

}  // namespace menura::x86
