// Decimal arithmetic and other instructions without a 64-bit encoding, XLAT, DF, ports, randomness.
#include "cpu/x86/task.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

// SF, ZF and PF of a byte.
u64 flags_of_byte(u64 value) {
  u64 flags = 0;
  if (value & 0x80) flags |= x86::kSf;
  if ((value & 0xff) == 0) flags |= x86::kZf;
  if (std::popcount(value & 0xff) % 2 == 0) flags |= x86::kPf;
  return flags;
}
constexpr u64 kByteFlags = x86::kSf | x86::kZf | x86::kPf;

}  // namespace

// DAA and DAS.
Outcome decimal_adjust(Execution& x) {
  const bool adds = x.insn.mnemonic == Mnemonic::Daa;
  const u64 old = x.gpr(x86::Rax, 1);
  u64 al = old, carry = x.s.rflags & x86::kCf, adjust = 0;
  const u64 old_carry = carry;
  carry = 0;
  if ((al & 15) > 9 || (x.s.rflags & x86::kAf)) {
    carry = old_carry | (!adds && al < 6 ? u64{x86::kCf} : 0);
    al = adds ? al + 6 : al - 6;
    adjust = x86::kAf;
  }
  if (old > 0x99 || old_carry) {
    al = adds ? al + 0x60 : al - 0x60;
    carry = x86::kCf;
  } else if (adds) {
    carry = 0;
  }
  x.set_gpr(x86::Rax, 1, al);
  x.set_flags(kByteFlags | x86::kCf | x86::kAf, flags_of_byte(al) | carry | adjust);
  return Outcome::Done;
}

// AAA and AAS.
Outcome ascii_adjust(Execution& x) {
  const bool adds = x.insn.mnemonic == Mnemonic::Aaa;
  u64 ax = x.gpr(x86::Rax, 2), flags = 0;
  if ((ax & 15) > 9 || (x.s.rflags & x86::kAf)) {
    ax = adds ? ax + 0x106 : ax - 0x106;
    flags = x86::kAf | x86::kCf;
  }
  x.set_gpr(x86::Rax, 2, ax & 0xff0f);
  x.set_flags(x86::kAf | x86::kCf, flags);
  return Outcome::Done;
}

// AAM
Outcome ascii_divide(Execution& x) {
  const u64 divisor = x.insn.imm & 0xff;
  if (divisor == 0) return x86::Fault{.vector = x86::kDe};
  const u64 al = x.gpr(x86::Rax, 1);
  x.set_gpr(x86::Rax, 2, (al / divisor) << 8 | al % divisor);
  x.set_flags(kByteFlags, flags_of_byte(al % divisor));
  return Outcome::Done;
}

// AAD
Outcome ascii_multiply(Execution& x) {
  const u64 ax = x.gpr(x86::Rax, 2);
  const u64 al = ((ax & 0xff) + (ax >> 8) * (x.insn.imm & 0xff)) & 0xff;
  x.set_gpr(x86::Rax, 2, al);
  x.set_flags(kByteFlags, flags_of_byte(al));
  return Outcome::Done;
}

Outcome set_al_on_carry(Execution& x) {
  x.set_gpr(x86::Rax, 1, (x.s.rflags & x86::kCf) ? 0xff : 0);
  return Outcome::Done;
}

Outcome translate_byte(Execution& x) {
  const u64 offset = (x.s.gpr[x86::Rbx] + x.gpr(x86::Rax, 1)) & low_mask(8 * x.insn.address_size);
  const u64 at =
      TRY(x86::segment_linear(x.s, segment_register(x.insn.segment), offset, 1, PageAccess::Read));
  x.set_gpr(x86::Rax, 1, TRY(x.bus.load(at, 1, Privilege::Current)));
  return Outcome::Done;
}

Outcome direction(Execution& x) {
  x.set_flags(x86::kDf, x.insn.mnemonic == Mnemonic::Std ? u64{x86::kDf} : 0);
  return Outcome::Done;
}

Outcome input(Execution& x) {
  const Operand to = operand(x.insn, 0);
  const u16 port = static_cast<u16>(TRY(x.read(1)));
  TRY(x86::check_io(x.s, x.bus, port, to.size));
  x.set(to, x.bus.in(port, to.size));
  return Outcome::Done;
}

Outcome output(Execution& x) {
  const Operand from = operand(x.insn, 1);
  const u16 port = static_cast<u16>(TRY(x.read(0)));
  TRY(x86::check_io(x.s, x.bus, port, from.size));
  x.bus.out(port, from.size, static_cast<u32>(x.get(from)));
  return Outcome::Done;
}

// RDRAND and RDSEED: from the host's kernel.
Outcome random_number(Execution& x) {
  u64 value = 0;
  x.bus.random(std::as_writable_bytes(std::span(&value, 1)));
  TRY(x.write(0, value));
  x.set_flags(x86::kArithmeticFlags, x86::kCf);
  return Outcome::Done;
}

}  // namespace menura::jit::x86
