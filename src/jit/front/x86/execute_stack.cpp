// PUSH, POP and their kin.
#include "base/bits.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

constexpr u64 kPopfUser =
    cpu::kArithmeticFlags | cpu::kTf | cpu::kDf | cpu::kNt | cpu::kAc | cpu::kId;

Outcome push(Executor& x) {
  const u64 value = TRY(x.read(0));
  TRY(x.push(x.i.operand_size, value));
  return x.done();
}

Outcome pop(Executor& x) {
  const Operand o = operand(x.i, 0);
  const unsigned n = x.i.operand_size;
  const u64 old = x.s.gpr[cpu::Rsp];
  const u64 value = TRY(x.pop(n));
  if (o.kind == OperandKind::Register && o.cls == RegClass::Segment) {
    if (OrFault<void> loaded =
            cpu::load_segment(x.s, x.bus, static_cast<SegReg>(o.number), static_cast<u16>(value));
        !loaded) {
      x.s.gpr[cpu::Rsp] = old;
      return loaded.error();
    }
    if (o.number == cpu::Ss) x.s.interrupt_shadow = true;
    return x.done();
  }
  // A memory operand based on rSP is addressed by the new stack pointer.
  if (OrFault<void> written = x.write(0, value); !written) {
    x.s.gpr[cpu::Rsp] = old;
    return written.error();
  }
  return x.done();
}

Outcome pusha(Executor& x) {
  const unsigned n = x.i.operand_size;
  const u64 sp = x.stack_pointer();
  const u64 bottom = truncated(sp - 8 * n, x.stack_size());
  const u64 at = TRY(cpu::segment_linear(x.s, cpu::Ss, bottom, 8 * n, PageAccess::Write));
  TRY(x.bus.probe(at, 8 * n, PageAccess::Write, Privilege::Current));
  for (unsigned r = 0; r < 8; r++)
    TRY(x.bus.store(at + (7 - r) * n, n, x.gpr(r, n), Privilege::Current));
  x.set_stack_pointer(bottom);
  return x.done();
}

Outcome popa(Executor& x) {
  const unsigned n = x.i.operand_size;
  const u64 at = TRY(cpu::segment_linear(x.s, cpu::Ss, x.stack_pointer(), 8 * n, PageAccess::Read));
  TRY(x.bus.probe(at, 8 * n, PageAccess::Read, Privilege::Current));
  for (unsigned r = 0; r < 8; r++) {
    const u64 value = TRY(x.bus.load(at + (7 - r) * n, n, Privilege::Current));
    if (r != cpu::Rsp) x.set_gpr(r, n, value);
  }
  x.set_stack_pointer(truncated(x.stack_pointer() + 8 * n, x.stack_size()));
  return x.done();
}

Outcome pushf(Executor& x) {
  if (cpu::v86_mode(x.s) && cpu::iopl(x.s) < 3) return cpu::general_protection();
  const u64 flags = (x.s.rflags | 2) & ~static_cast<u64>(cpu::kRf | cpu::kVm);
  TRY(x.push(x.i.operand_size, flags));
  return x.done();
}

Outcome popf(Executor& x) {
  if (cpu::v86_mode(x.s) && cpu::iopl(x.s) < 3) return cpu::general_protection();
  u64 mask = kPopfUser;
  if (x.cpl() <= cpu::iopl(x.s)) mask |= cpu::kIf;
  if (x.cpl() == 0) mask |= cpu::kIopl;
  if (x.i.operand_size == 2) mask &= 0xffff;
  const u64 value = TRY(x.pop(x.i.operand_size));
  x.s.rflags = (merge(x.s.rflags, value, mask) | 2) & ~u64{cpu::kRf};
  return x.done();
}

Outcome enter(Executor& x) {
  const unsigned n = x.i.operand_size, width = x.stack_size();
  const unsigned level = x.i.imm2 & 31;
  const u64 rsp = x.s.gpr[cpu::Rsp], rbp = x.s.gpr[cpu::Rbp];
  auto undo = [&](cpu::Fault fault) -> Outcome {
    x.s.gpr[cpu::Rsp] = rsp;
    return fault;
  };
  if (auto r = x.push(n, rbp); !r) return undo(r.error());
  const u64 frame = x.stack_pointer();
  for (unsigned l = 1; l < level; l++) {
    auto link = x.load(cpu::Ss, truncated(rbp - l * n, width), n);
    if (!link) return undo(link.error());
    if (auto r = x.push(n, *link); !r) return undo(r.error());
  }
  if (level > 0)
    if (auto r = x.push(n, frame); !r) return undo(r.error());
  const u64 top = truncated(x.stack_pointer() - (x.i.imm & 0xffff), width);
  if (auto at = cpu::segment_linear(x.s, cpu::Ss, top, 1, PageAccess::Write); !at)
    return undo(at.error());
  x.set_stack_pointer(top);
  x.set_gpr(cpu::Rbp, n, frame);
  return x.done();
}

Outcome leave(Executor& x) {
  const u64 value = TRY(x.load(cpu::Ss, x.gpr(cpu::Rbp, x.stack_size()), x.i.operand_size));
  x.set_stack_pointer(
      truncated(x.gpr(cpu::Rbp, x.stack_size()) + x.i.operand_size, x.stack_size()));
  x.set_gpr(cpu::Rbp, x.i.operand_size, value);
  return x.done();
}

}  // namespace

Outcome execute_stack(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Push: return push(x);
    case Mnemonic::Pop: return pop(x);
    case Mnemonic::Pusha: return pusha(x);
    case Mnemonic::Popa: return popa(x);
    case Mnemonic::Pushf: return pushf(x);
    case Mnemonic::Popf: return popf(x);
    case Mnemonic::Enter: return enter(x);
    case Mnemonic::Leave: return leave(x);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
