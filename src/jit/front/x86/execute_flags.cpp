// Flags, ports, BCD arithmetic and other old instructions.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/bits.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

Outcome set_interrupt_flag(Executor& x, bool on) {
  if (cpu::protected_mode(x.s) ? x.cpl() > cpu::iopl(x.s)
                               : cpu::v86_mode(x.s) && cpu::iopl(x.s) < 3)
    return cpu::general_protection();
  if (on && !(x.s.rflags & cpu::kIf)) x.s.interrupt_shadow = true;
  x.s.rflags = on ? x.s.rflags | cpu::kIf : x.s.rflags & ~u64{cpu::kIf};
  return x.done();
}

Outcome set_flag(Executor& x, u64 flag, bool on) {
  x.s.rflags = on ? x.s.rflags | flag : x.s.rflags & ~flag;
  return x.done();
}

}  // namespace

Outcome execute_flags(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Cli: return set_interrupt_flag(x, false);
    case Mnemonic::Sti: return set_interrupt_flag(x, true);
    case Mnemonic::Cld: return set_flag(x, cpu::kDf, false);
    case Mnemonic::Std: return set_flag(x, cpu::kDf, true);
    case Mnemonic::Clac: return set_flag(x, cpu::kAc, false);
    case Mnemonic::Stac: return set_flag(x, cpu::kAc, true);
    default: return Outcome::Native;
  }
}

OrFault<void> check_ports(Executor& x, u16 port, unsigned size) {
  const bool free = cpu::real_mode(x.s) || (cpu::protected_mode(x.s) && x.cpl() <= cpu::iopl(x.s));
  if (free) return {};
  // The I/O permission bitmap of a 32- or 64-bit TSS (SDM vol. 1 §19.5.2).
  const cpu::Segment& tss = x.s.tr;
  if (tss.limit < 103 || (tss.type() & 8) == 0) return cpu::general_protection();
  const u64 bitmap = TRY(x.bus.load(tss.base + 102, 2, Privilege::Supervisor));
  const u64 at = bitmap + port / 8;
  if (at + 1 > tss.limit) return cpu::general_protection();
  const u64 bits = TRY(x.bus.load(tss.base + at, 2, Privilege::Supervisor));
  if (bits >> (port & 7) & low_mask(size)) return cpu::general_protection();
  return {};
}

Outcome execute_io(Executor& x) {
  const bool in = x.i.mnemonic == Mnemonic::In;
  if (!in && x.i.mnemonic != Mnemonic::Out) return Outcome::Native;
  const unsigned value = in ? 0 : 1;
  const unsigned size = operand(x.i, value).size;
  const u16 port = static_cast<u16>(TRY(x.read(in ? 1 : 0)));
  TRY(check_ports(x, port, size));
  if (in)
    x.set_gpr(cpu::Rax, size, x.bus.in(port, size));
  else
    x.bus.out(port, size, static_cast<u32>(x.gpr(cpu::Rax, size)));
  return x.done();
}

namespace {

void set_result_flags(Executor& x, u8 result, u64 others) {
  u64 f = x.s.rflags & ~static_cast<u64>(cpu::kArithmeticFlags);
  if (result == 0) f |= cpu::kZf;
  if (result & 0x80) f |= cpu::kSf;
  if (!(std::popcount(result) & 1)) f |= cpu::kPf;
  x.s.rflags = f | others;
}

// DAA and DAS: SDM vol. 2.
Outcome decimal_adjust(Executor& x, bool subtract) {
  u8 al = static_cast<u8>(x.s.gpr[cpu::Rax]);
  const u8 old = al;
  const bool cf = x.s.rflags & cpu::kCf;
  u64 flags = 0;
  auto adjust = [&](u8 by) { al = static_cast<u8>(subtract ? al - by : al + by); };
  if ((al & 15) > 9 || (x.s.rflags & cpu::kAf)) {
    const bool carries = subtract ? al < 6 : al > 0xf9;
    adjust(6);
    flags |= cpu::kAf;
    if (cf || carries) flags |= cpu::kCf;
  }
  if (old > 0x99 || cf) {
    adjust(0x60);
    flags |= cpu::kCf;
  } else if (!subtract) {
    flags &= ~u64{cpu::kCf};
  }
  x.set_gpr(cpu::Rax, 1, al);
  set_result_flags(x, al, flags);
  return x.done();
}

Outcome ascii_adjust(Executor& x, bool subtract) {
  const bool adjust = (x.s.gpr[cpu::Rax] & 15) > 9 || (x.s.rflags & cpu::kAf);
  u16 ax = static_cast<u16>(x.s.gpr[cpu::Rax]);
  if (adjust) ax = static_cast<u16>(subtract ? ax - 0x106 : ax + 0x106);
  x.set_gpr(cpu::Rax, 2, ax & 0xff0f);
  const u64 flags = adjust ? cpu::kAf | cpu::kCf : 0;
  x.s.rflags = (x.s.rflags & ~static_cast<u64>(cpu::kAf | cpu::kCf)) | flags;
  return x.done();
}

Outcome ascii_multiply(Executor& x) {
  const u8 base = static_cast<u8>(x.i.imm), al = static_cast<u8>(x.s.gpr[cpu::Rax]);
  if (base == 0) return cpu::Fault{.vector = cpu::kDe};
  x.set_gpr(cpu::Rax, 2, static_cast<u64>(al / base) << 8 | al % base);
  set_result_flags(x, al % base, 0);
  return x.done();
}

Outcome ascii_divide(Executor& x) {
  const u8 base = static_cast<u8>(x.i.imm);
  const u8 al = static_cast<u8>(x.gpr(cpu::Rax, 1) + x.gpr(cpu::Rax, 1, true) * base);
  x.set_gpr(cpu::Rax, 2, al);
  set_result_flags(x, al, 0);
  return x.done();
}

Outcome xlat(Executor& x) {
  const u64 offset = truncated(x.s.gpr[cpu::Rbx] + x.gpr(cpu::Rax, 1), x.i.address_size);
  const SegReg seg = x.i.segment == Segment::None ? cpu::Ds : static_cast<SegReg>(x.i.segment);
  x.set_gpr(cpu::Rax, 1, TRY(x.load(seg, offset, 1)));
  return x.done();
}

Outcome bound(Executor& x) {
  const unsigned n = x.i.operand_size;
  const u64 at = TRY(x.address(2 * n, PageAccess::Read));
  const i64 low = sign_extend(TRY(x.bus.load(at, n, Privilege::Current)), 8 * n);
  const i64 high = sign_extend(TRY(x.bus.load(at + n, n, Privilege::Current)), 8 * n);
  const i64 index = sign_extend(x.gpr(x.i.reg, n), 8 * n);
  if (index < low || index > high) return cpu::Fault{.vector = cpu::kBr};
  return x.done();
}

Outcome random(Executor& x) {
  u64 value = 0;
  bool good = false;
  if (x.i.mnemonic == Mnemonic::Rdrand)
    asm volatile("rdrand %0\n\tsetc %1" : "=r"(value), "=qm"(good)::"cc");
  else
    asm volatile("rdseed %0\n\tsetc %1" : "=r"(value), "=qm"(good)::"cc");
  x.set_gpr(x.i.rm, x.i.operand_size, good ? value : 0);
  x.s.rflags = (x.s.rflags & ~static_cast<u64>(cpu::kArithmeticFlags)) | (good ? u64{cpu::kCf} : 0);
  return x.done();
}

// MASKMOVDQU: the bytes of xmm that the mask selects, to [rDI].
Outcome masked_store(Executor& x) {
  std::array<u8, 16> bytes{}, mask{};
  std::memcpy(bytes.data(), x.s.vec[x.i.reg].qwords.data(), 16);
  std::memcpy(mask.data(), x.s.vec[x.i.rm].qwords.data(), 16);
  const u64 offset = x.gpr(cpu::Rdi, x.i.address_size);
  const SegReg seg =
      x.i.override_segment == Segment::None ? cpu::Ds : static_cast<SegReg>(x.i.override_segment);
  const u64 at = TRY(cpu::segment_linear(x.s, seg, offset, 16, PageAccess::Write));
  for (unsigned k = 0; k < 16; k++)
    if (mask[k] & 0x80) TRY(x.bus.probe(at + k, 1, PageAccess::Write, Privilege::Current));
  for (unsigned k = 0; k < 16; k++)
    if (mask[k] & 0x80) TRY(x.bus.store(at + k, 1, bytes[k], Privilege::Current));
  return x.done();
}

// VPGATHER and VGATHER: elements are loaded in order; a fault keeps those done and their masks cleared.
Outcome gather(Executor& x) {
  const bool index64 = x.i.opcode & 1, element64 = x.i.rex & 8;
  const unsigned element = element64 ? 8 : 4, index_size = index64 ? 8 : 4;
  const unsigned count = x.i.vector_size / std::max(element, index_size);
  u8* to = reinterpret_cast<u8*>(x.s.vec[x.i.reg].qwords.data());
  u8* mask = reinterpret_cast<u8*>(x.s.vec[x.i.vvvv].qwords.data());
  const u8* indices = reinterpret_cast<const u8*>(x.s.vec[x.i.index].qwords.data());
  for (unsigned k = 0; k < count; k++) {
    if (!(mask[(k + 1) * element - 1] & 0x80)) continue;
    u64 raw = 0;
    std::memcpy(&raw, indices + k * index_size, index_size);
    const u64 index = static_cast<u64>(sign_extend(raw, 8 * index_size)) << x.i.scale;
    const u64 offset = truncated(effective_address(x.s, x.i) + index, x.i.address_size);
    const u64 value = TRY(x.load(static_cast<SegReg>(x.i.segment), offset, element));
    std::memcpy(to + k * element, &value, element);
    std::memset(mask + k * element, 0, element);
  }
  const unsigned used = count * element;
  std::memset(mask, 0, 32);
  std::memset(to + used, 0, 32 - used);
  return x.done();
}

}  // namespace

Outcome execute_legacy(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Daa: return decimal_adjust(x, false);
    case Mnemonic::Das: return decimal_adjust(x, true);
    case Mnemonic::Aaa: return ascii_adjust(x, false);
    case Mnemonic::Aas: return ascii_adjust(x, true);
    case Mnemonic::Aam: return ascii_multiply(x);
    case Mnemonic::Aad: return ascii_divide(x);
    case Mnemonic::Salc: x.set_gpr(cpu::Rax, 1, x.s.rflags & cpu::kCf ? 0xff : 0); return x.done();
    case Mnemonic::Xlat: return xlat(x);
    case Mnemonic::Bound: return bound(x);
    case Mnemonic::Rdrand:
    case Mnemonic::Rdseed: return random(x);
    case Mnemonic::Maskmovdqu:
    case Mnemonic::Vmaskmovdqu: return masked_store(x);
    case Mnemonic::Vpgatherdd:
    case Mnemonic::Vpgatherdq:
    case Mnemonic::Vpgatherqd:
    case Mnemonic::Vpgatherqq:
    case Mnemonic::Vgatherdps:
    case Mnemonic::Vgatherdpd:
    case Mnemonic::Vgatherqps:
    case Mnemonic::Vgatherqpd: return gather(x);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
