// Pushes, pops and stack frames.
#include "cpu/x86/flags.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

using x86::StackCursor;

Outcome push(Execution& x) {
  const Operand o = operand(x.insn, 0);
  const bool segment = o.kind == OperandKind::Register && o.cls == RegClass::Segment;
  const u64 value = segment ? x.s.seg[o.number].selector : TRY(x.read(0));
  StackCursor stack(x.s, x.bus);
  TRY(stack.push(value, x.insn.operand_size));
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome pop(Execution& x) {
  const Operand o = operand(x.insn, 0);
  StackCursor stack(x.s, x.bus);
  const u64 value = TRY(stack.pop(x.insn.operand_size));
  const u64 old = x.s.gpr[x86::Rsp];
  if (o.kind == OperandKind::Register && o.cls == RegClass::Segment) {
    const auto seg = static_cast<x86::SegReg>(o.number);
    const u64 rsp = stack.rsp(old);  // as wide as the old SS says
    TRY(x86::load_segment(x.s, x.bus, seg, static_cast<u16>(value)));
    x.s.gpr[x86::Rsp] = rsp;
    x.s.interrupt_shadow = seg == x86::Ss;
    return Outcome::Done;
  }
  // A memory operand is addressed with RSP as it is after the pop; POP RSP keeps what was popped.
  stack.commit(x.s);
  if (OrFault<void> done = x.write(0, value); !done) {
    x.s.gpr[x86::Rsp] = old;
    return done.error();
  }
  return Outcome::Done;
}

Outcome push_all(Execution& x) {
  StackCursor stack(x.s, x.bus);
  for (unsigned i = 0; i < 8; i++) TRY(stack.push(x.s.gpr[i], x.insn.operand_size));
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome pop_all(Execution& x) {
  StackCursor stack(x.s, x.bus);
  u64 values[8];
  for (unsigned i = 8; i-- > 0;) values[i] = TRY(stack.pop(x.insn.operand_size));
  for (unsigned i = 0; i < 8; i++)
    if (i != x86::Rsp) x.set_gpr(i, x.insn.operand_size, values[i]);
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome push_flags(Execution& x) {
  const u64 flags = TRY(x86::pushed_flags(x.s, x.insn.operand_size));
  StackCursor stack(x.s, x.bus);
  TRY(stack.push(flags, x.insn.operand_size));
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome pop_flags(Execution& x) {
  StackCursor stack(x.s, x.bus);
  const u64 value = TRY(stack.pop(x.insn.operand_size));
  x.s.rflags = TRY(x86::popped_flags(x.s, value, x.insn.operand_size));
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome enter(Execution& x) {
  const unsigned size = x.insn.operand_size, width = x86::stack_width(x.s);
  const unsigned level = x.insn.imm2 & 31;
  StackCursor stack(x.s, x.bus);
  TRY(stack.push(x.s.gpr[x86::Rbp], size));
  const u64 frame = stack.pointer();
  u64 outer = x.s.gpr[x86::Rbp];
  for (unsigned i = 1; i < level; i++) {
    outer = (outer - size) & low_mask(8 * width);
    const u64 at = TRY(x86::segment_linear(x.s, x86::Ss, outer, size, PageAccess::Read));
    TRY(stack.push(TRY(x.bus.load(at, size, Privilege::Current)), size));
  }
  if (level > 0) TRY(stack.push(frame, size));
  stack.release(~(x.insn.imm & 0xffff) + 1);
  // The new top must be writable although nothing is written there.
  const u64 top = TRY(x86::segment_linear(x.s, x86::Ss, stack.pointer(), size, PageAccess::Write));
  TRY(x.bus.probe(top, size, PageAccess::Write, Privilege::Current));
  x.set_gpr(x86::Rbp, size, frame);
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome leave(Execution& x) {
  const unsigned size = x.insn.operand_size, width = x86::stack_width(x.s);
  const u64 frame = x.gpr(x86::Rbp, width);
  const u64 at = TRY(x86::segment_linear(x.s, x86::Ss, frame, size, PageAccess::Read));
  const u64 value = TRY(x.bus.load(at, size, Privilege::Current));
  x.set_gpr(x86::Rsp, width, frame + size);
  x.set_gpr(x86::Rbp, size, value);
  return Outcome::Done;
}

}  // namespace menura::jit::x86
