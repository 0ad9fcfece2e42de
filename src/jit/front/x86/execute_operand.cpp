// Addresses and values of operands.
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

u64 effective_address(const x86::State& s, const Insn& insn) {
  u64 offset = static_cast<u64>(insn.disp);
  if (insn.has(seen::kRipRelative)) offset += s.rip + insn.length;
  if (insn.base != kNoRegister) offset += s.gpr[insn.base];
  if (insn.index != kNoRegister && !insn.has(seen::kVsib))
    offset += s.gpr[insn.index] << insn.scale;
  return offset & low_mask(8 * insn.address_size);
}

OrFault<u64> operand_address(const x86::State& s, const Insn& insn, unsigned size,
                             PageAccess access) {
  return x86::segment_linear(s, segment_register(insn.segment), effective_address(s, insn), size,
                             access);
}

u64 flags_of_subtraction(u64 left, u64 right, unsigned size) {
  const u64 mask = low_mask(8 * size);
  left &= mask;
  right &= mask;
  const u64 result = (left - right) & mask;
  const unsigned sign = 8 * size - 1;
  u64 flags = 0;
  if (left < right) flags |= x86::kCf;
  if (std::popcount(result & 0xff) % 2 == 0) flags |= x86::kPf;
  if ((left ^ right ^ result) & 0x10) flags |= x86::kAf;
  if (result == 0) flags |= x86::kZf;
  if (test_bit(result, sign)) flags |= x86::kSf;
  if (test_bit((left ^ right) & (left ^ result), sign)) flags |= x86::kOf;
  return flags;
}

void Execution::set_gpr(unsigned number, unsigned size, u64 value) {
  const u64 mask = low_mask(8 * size);
  const u64 kept = size < 4 ? s.gpr[number] & ~mask : 0;
  s.gpr[number] = kept | (value & mask);
}

u64 Execution::get(const Operand& o) const {
  return (s.gpr[o.number] >> (o.high ? 8 : 0)) & low_mask(8 * o.size);
}

void Execution::set(const Operand& o, u64 value) {
  if (o.high)
    s.gpr[o.number] = with_bits(s.gpr[o.number], 15, 8, value & 0xff);
  else
    set_gpr(o.number, o.size, value);
}

OrFault<u64> Execution::read(unsigned which) {
  const Operand o = operand(insn, which);
  if (o.kind == OperandKind::Immediate) return immediate(insn, which);
  if (o.kind == OperandKind::Register) return get(o);
  ensure(o.kind == OperandKind::Memory && o.size <= 8, "an operand that has a value");
  return bus.load(TRY(address(o.size, PageAccess::Read)), o.size, Privilege::Current);
}

OrFault<void> Execution::write(unsigned which, u64 value) {
  const Operand o = operand(insn, which);
  if (o.kind == OperandKind::Register) {
    set(o, value);
    return {};
  }
  ensure(o.kind == OperandKind::Memory && o.size <= 8, "an operand that can be written");
  return bus.store(TRY(address(o.size, PageAccess::Write)), o.size, value, Privilege::Current);
}

}  // namespace menura::jit::x86
