#include "jit/front/x86/execute.h"

#include "base/bits.h"
#include "jit/front/x86/executor.h"
#include "jit/front/x86/translate.h"

namespace menura::jit::x86 {

u64 truncated(u64 value, unsigned bytes) { return value & low_mask(8 * bytes); }

u64 Executor::gpr(unsigned number, unsigned size, bool high) const {
  return truncated(s.gpr[number] >> (high ? 8 : 0), size);
}

void Executor::set_gpr(unsigned number, unsigned size, u64 value, bool high) {
  u64& r = s.gpr[number];
  switch (size) {
    case 1: r = high ? with_bits(r, 15, 8, value) : with_bits(r, 7, 0, value); break;
    case 2: r = with_bits(r, 15, 0, value); break;
    case 4: r = truncated(value, 4); break;
    default: r = value;
  }
}

// A counter or pointer of the address size: narrow ones keep the rest of the register.
void Executor::write_masked(unsigned number, unsigned size, u64 value) {
  set_gpr(number, size, value);
}

OrFault<u64> Executor::load(SegReg seg, u64 offset, unsigned size) {
  return bus.load(TRY(cpu::segment_linear(s, seg, offset, size, PageAccess::Read)), size,
                  Privilege::Current);
}

OrFault<void> Executor::store(SegReg seg, u64 offset, unsigned size, u64 value) {
  return bus.store(TRY(cpu::segment_linear(s, seg, offset, size, PageAccess::Write)), size, value,
                   Privilege::Current);
}

OrFault<u64> Executor::read(unsigned which) {
  const Operand o = operand(i, which);
  switch (o.kind) {
    case OperandKind::Memory:
      return bus.load(TRY(address(o.size, PageAccess::Read)), o.size, Privilege::Current);
    case OperandKind::Register:
      if (o.cls == RegClass::Segment) return u64{s.seg[o.number].selector};
      return gpr(o.number, o.size, o.high);
    default: return immediate(i, which);
  }
}

OrFault<void> Executor::write(unsigned which, u64 value) {
  const Operand o = operand(i, which);
  if (o.kind == OperandKind::Memory)
    return bus.store(TRY(address(o.size, PageAccess::Write)), o.size, value, Privilege::Current);
  set_gpr(o.number, o.size, value, o.high);
  return {};
}

OrFault<void> Executor::push(unsigned size, u64 value) {
  const u64 pointer = truncated(stack_pointer() - size, stack_size());
  TRY(store(cpu::Ss, pointer, size, value));
  set_stack_pointer(pointer);
  return {};
}

OrFault<u64> Executor::pop(unsigned size) {
  const u64 value = TRY(load(cpu::Ss, stack_pointer(), size));
  set_stack_pointer(truncated(stack_pointer() + size, stack_size()));
  return value;
}

u64 effective_address(const cpu::State& s, const Insn& insn) {
  u64 sum = static_cast<u64>(insn.disp);
  if (insn.has(seen::kRipRelative)) sum += s.rip + insn.length;
  if (insn.base != kNoRegister) sum += s.gpr[insn.base];
  if (insn.index != kNoRegister && !insn.has(seen::kVsib)) sum += s.gpr[insn.index] << insn.scale;
  return truncated(sum, insn.address_size);
}

OrFault<u64> operand_address(const cpu::State& s, const Insn& insn, unsigned size,
                             PageAccess access) {
  return cpu::segment_linear(s, static_cast<SegReg>(insn.segment), effective_address(s, insn),
                             size ? size : 1, access);
}

OrFault<void> check_unit(const cpu::State& s, const Insn& insn) {
  switch (unit(row_of(insn))) {
    case Unit::Integer: return {};
    case Unit::X87:
      if (insn.mnemonic == Mnemonic::Fwait) {
        if ((s.cr0 & cpu::kCr0Mp) && (s.cr0 & cpu::kCr0Ts)) return cpu::device_not_available();
        return {};
      }
      if (s.cr0 & (cpu::kCr0Em | cpu::kCr0Ts)) return cpu::device_not_available();
      return {};
    case Unit::Mmx:
      if (s.cr0 & cpu::kCr0Em) return cpu::undefined_opcode();
      break;
    case Unit::Sse:
      if ((s.cr0 & cpu::kCr0Em) || !(s.cr4 & cpu::kCr4Osfxsr)) return cpu::undefined_opcode();
      break;
    case Unit::Avx:
      if (!cpu::protected_mode(s) || !(s.cr4 & cpu::kCr4Osxsave) || (s.xcr0 & 6) != 6)
        return cpu::undefined_opcode();
      break;
  }
  if (s.cr0 & cpu::kCr0Ts) return cpu::device_not_available();
  return {};
}

namespace {

// Rules that rows state for many instructions at once.
OrFault<void> check_row(const Executor& x) {
  const Row& row = row_of(x.i);
  if ((row.attributes & attr::kProtected) && !cpu::protected_mode(x.s))
    return cpu::undefined_opcode();
  if ((row.attributes & attr::kCpl0) && x.cpl() != 0) return cpu::general_protection();
  if ((row.attributes & attr::kUmip) && (x.s.cr4 & cpu::kCr4Umip) && x.cpl() != 0)
    return cpu::general_protection();
  return {};
}

}  // namespace

Outcome execute(cpu::State& state, const Insn& insn, cpu::CpuBus& bus) {
  Executor x(state, insn, bus);
  state.interrupt_shadow = false;
  if (OrFault<void> allowed = check_row(x); !allowed) return allowed.error();
  constexpr Outcome (*kGroups[])(Executor&) = {execute_stack,  execute_string,      execute_branch,
                                               execute_far,    execute_system_call, execute_flags,
                                               execute_system, execute_segments,    execute_state,
                                               execute_io,     execute_legacy};
  for (auto group : kGroups) {
    const Outcome outcome = group(x);
    if (outcome.what != Outcome::Native) return outcome;
  }
  // Known to the decoder, but not to us.
  return cpu::undefined_opcode();
}

}  // namespace menura::jit::x86
