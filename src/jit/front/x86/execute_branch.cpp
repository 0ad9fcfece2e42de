// Jumps, calls, returns and interrupts that instructions ask for.
#include "cpu/x86/delivery.h"
#include "cpu/x86/far_transfer.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

// A near target must be canonical, or inside CS.
OrFault<void> go(Execution& x, u64 target) {
  target &= low_mask(8 * x.insn.operand_size);
  TRY(x86::code_linear(x.s, target, 1));
  x.next = target;
  return {};
}

u64 relative_target(const Execution& x) { return x.next + x.insn.imm; }

// The sixteen conditions in the order of their opcodes.
bool condition(u64 flags, unsigned code) {
  const bool less = ((flags & x86::kSf) != 0) != ((flags & x86::kOf) != 0);
  const bool zero = flags & x86::kZf, carry = flags & x86::kCf;
  bool met = false;
  switch (code >> 1 & 7) {
    case 0: met = flags & x86::kOf; break;
    case 1: met = carry; break;
    case 2: met = zero; break;
    case 3: met = carry || zero; break;
    case 4: met = flags & x86::kSf; break;
    case 5: met = flags & x86::kPf; break;
    case 6: met = less; break;
    case 7: met = less || zero; break;
  }
  return met != ((code & 1) != 0);
}

// Where a near transfer leads: relative, or as its operand says.
OrFault<u64> near_target(Execution& x) {
  if (operand(x.insn, 0).kind == OperandKind::Relative) return relative_target(x);
  return x.read(0);
}

OrFault<x86::FarPointer> far_target(Execution& x) {
  const Operand o = operand(x.insn, 0);
  if (o.kind == OperandKind::FarPointer) return x86::FarPointer{x.insn.imm2, x.insn.imm};
  const unsigned offset_size = o.size - 2u;
  const u64 at = TRY(x.address(o.size, PageAccess::Read));
  const u64 offset = TRY(x.bus.load(at, offset_size, Privilege::Current));
  // The pointer lies inside the segment, which was checked as a whole.
  const u64 selector_at = TRY(x86::segment_linear(
      x.s, segment_register(x.insn.segment),
      (effective_address(x.s, x.insn) + offset_size) & low_mask(8 * x.insn.address_size), 2,
      PageAccess::Read));
  const u64 selector = TRY(x.bus.load(selector_at, 2, Privilege::Current));
  return x86::FarPointer{static_cast<u16>(selector), offset};
}

Outcome transferred(Execution& x) {
  x.next = x.s.rip;
  return Outcome::Done;
}

}  // namespace

Outcome jump(Execution& x) {
  TRY(go(x, TRY(near_target(x))));
  return Outcome::Done;
}

Outcome branch(Execution& x) {
  if (condition(x.s.rflags, x.insn.opcode)) TRY(go(x, relative_target(x)));
  return Outcome::Done;
}

Outcome count_branch(Execution& x) {
  const unsigned size = x.insn.address_size;
  const bool counts = x.insn.mnemonic != Mnemonic::Jcxz;
  const u64 count = (x.gpr(x86::Rcx, size) - (counts ? 1 : 0)) & low_mask(8 * size);
  const bool zero = x.s.rflags & x86::kZf;
  bool taken = count != 0;
  if (!counts) taken = count == 0;
  if (x.insn.mnemonic == Mnemonic::Loope) taken &= zero;
  if (x.insn.mnemonic == Mnemonic::Loopne) taken &= !zero;
  if (taken) TRY(go(x, relative_target(x)));
  if (counts) x.set_gpr(x86::Rcx, size, count);
  return Outcome::Done;
}

Outcome call(Execution& x) {
  const u64 back = x.next;
  const u64 target = TRY(near_target(x));
  // The stack's faults come before those of the target; nothing may be written until both are known.
  x86::StackCursor stack(x.s, x.bus);
  TRY(stack.check_push(x.insn.operand_size));
  TRY(go(x, target));
  TRY(stack.push(back, x.insn.operand_size));
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome ret(Execution& x) {
  x86::StackCursor stack(x.s, x.bus);
  const u64 target = TRY(stack.pop(x.insn.operand_size));
  TRY(go(x, target));
  if (x.insn.opcode == 0xc2) stack.release(x.insn.imm & 0xffff);
  stack.commit(x.s);
  return Outcome::Done;
}

Outcome jump_far(Execution& x) {
  TRY(x86::far_jump(x.s, x.bus, TRY(far_target(x)), x.insn.operand_size, x.next));
  return transferred(x);
}

Outcome call_far(Execution& x) {
  TRY(x86::far_call(x.s, x.bus, TRY(far_target(x)), x.insn.operand_size, x.next));
  return transferred(x);
}

Outcome ret_far(Execution& x) {
  const u16 release = x.insn.opcode == 0xca ? static_cast<u16>(x.insn.imm) : u16{0};
  TRY(x86::far_return(x.s, x.bus, x.insn.operand_size, release));
  return transferred(x);
}

Outcome iret(Execution& x) {
  TRY(x86::interrupt_return(x.s, x.bus, x.insn.operand_size, x.next));
  return transferred(x);
}

Outcome interrupt(Execution& x) {
  using x86::SoftwareInterrupt;
  u8 vector = static_cast<u8>(x.insn.imm);
  SoftwareInterrupt kind = SoftwareInterrupt::IntN;
  if (x.insn.mnemonic == Mnemonic::Int3) {
    vector = x86::kBp;
    kind = SoftwareInterrupt::Int3;
  } else if (x.insn.mnemonic == Mnemonic::Int1) {
    vector = x86::kDb;
    kind = SoftwareInterrupt::Int1;
  }
  TRY(x86::deliver_software(x.s, x.bus, vector, x.next, kind));
  return transferred(x);
}

Outcome into(Execution& x) {
  if (!(x.s.rflags & x86::kOf)) return Outcome::Done;
  TRY(x86::deliver_software(x.s, x.bus, x86::kOfTrap, x.next, x86::SoftwareInterrupt::Into));
  return transferred(x);
}

Outcome bound(Execution& x) {
  const unsigned size = x.insn.operand_size;
  const u64 at = TRY(x.address(2 * size, PageAccess::Read));
  const i64 index = sign_extend(x.get(operand(x.insn, 0)), 8 * size);
  const i64 lower = sign_extend(TRY(x.bus.load(at, size, Privilege::Current)), 8 * size);
  const u64 second = (at + size) & 0xffff'ffff;
  const i64 upper = sign_extend(TRY(x.bus.load(second, size, Privilege::Current)), 8 * size);
  if (index < lower || index > upper) return x86::Fault{.vector = x86::kBr};
  return Outcome::Done;
}

Outcome undefined(Execution&) { return x86::undefined_opcode(); }

}  // namespace menura::jit::x86
