// Near transfers, as tier 0 does them, and software interrupts.
#include "base/bits.h"
#include "cpu/x86/delivery.h"
#include "cpu/x86/paging.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

bool holds(u64 flags, unsigned condition) {
  const bool cf = flags & cpu::kCf, zf = flags & cpu::kZf, sf = flags & cpu::kSf,
             of = flags & cpu::kOf;
  bool result = false;
  switch (condition >> 1) {
    case 0: result = of; break;
    case 1: result = cf; break;
    case 2: result = zf; break;
    case 3: result = cf || zf; break;
    case 4: result = sf; break;
    case 5: result = flags & cpu::kPf; break;
    case 6: result = sf != of; break;
    case 7: result = zf || sf != of; break;
  }
  return result != static_cast<bool>(condition & 1);
}

// A near target must be canonical, or inside CS's limit.
OrFault<void> check_target(const Executor& x, u64 target) {
  if (x.bits64() ? !cpu::canonical(x.s, target) : target > x.s.seg[cpu::Cs].limit)
    return cpu::general_protection();
  return {};
}

u64 relative(const Executor& x) { return truncated(x.next + x.i.imm, x.i.operand_size); }

Outcome go(Executor& x, u64 target) {
  TRY(check_target(x, target));
  return x.jump(target);
}

Outcome conditional(Executor& x) {
  const unsigned width = x.i.address_size;
  bool taken;
  switch (x.i.mnemonic) {
    case Mnemonic::Jcxz: taken = x.gpr(cpu::Rcx, width) == 0; break;
    case Mnemonic::Loop:
    case Mnemonic::Loope:
    case Mnemonic::Loopne: {
      const u64 count = truncated(x.gpr(cpu::Rcx, width) - 1, width);
      taken = count != 0;
      if (x.i.mnemonic != Mnemonic::Loop)
        taken =
            taken && static_cast<bool>(x.s.rflags & cpu::kZf) == (x.i.mnemonic == Mnemonic::Loope);
      if (taken) TRY(check_target(x, relative(x)));
      x.write_masked(cpu::Rcx, width, count);
      break;
    }
    default: taken = holds(x.s.rflags, x.i.opcode & 15);
  }
  return taken ? go(x, relative(x)) : x.done();
}

Outcome call(Executor& x, u64 target) {
  TRY(check_target(x, target));
  TRY(x.push(x.i.operand_size, x.next));
  return x.jump(target);
}

Outcome ret(Executor& x) {
  const unsigned n = x.i.operand_size;
  const u64 target = TRY(x.load(cpu::Ss, x.stack_pointer(), n));
  TRY(check_target(x, target));
  const u64 extra = x.i.opcode == 0xc2 ? x.i.imm & 0xffff : 0;
  x.set_stack_pointer(truncated(x.stack_pointer() + n + extra, x.stack_size()));
  return x.jump(target);
}

Outcome interrupt(Executor& x, u8 vector) {
  TRY(cpu::software_interrupt(x.s, x.bus, vector, x.next));
  return Outcome::Done;
}

}  // namespace

Outcome execute_branch(Executor& x) {
  switch (row_of(x.i).control()) {
    case Control::Jump: return go(x, relative(x));
    case Control::Branch: return conditional(x);
    case Control::Call: return call(x, relative(x));
    case Control::JumpIndirect: return go(x, TRY(x.read(0)));
    case Control::CallIndirect: return call(x, TRY(x.read(0)));
    case Control::Return: return ret(x);
    default: break;
  }
  switch (x.i.mnemonic) {
    case Mnemonic::Int: {
      const bool v86 = cpu::v86_mode(x.s) && cpu::iopl(x.s) < 3;
      if (v86) return cpu::general_protection();
      return interrupt(x, static_cast<u8>(x.i.imm));
    }
    case Mnemonic::Int3: return interrupt(x, cpu::kBp);
    case Mnemonic::Into: return x.s.rflags & cpu::kOf ? interrupt(x, cpu::kOfTrap) : x.done();
    case Mnemonic::Int1: x.s.rip = x.next; return {Outcome::Trapped, {.vector = cpu::kDb}};
    case Mnemonic::Ud0:
    case Mnemonic::Ud1:
    case Mnemonic::Ud2:
    case Mnemonic::Vmcall:
    case Mnemonic::Vmmcall: return cpu::undefined_opcode();
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
