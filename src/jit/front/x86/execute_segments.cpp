// Descriptor tables, segment registers, and the instructions that ask about selectors.
#include <algorithm>
#include <array>

#include "base/bits.h"
#include "jit/front/x86/executor.h"

namespace menura::jit::x86 {

namespace {

using cpu::Descriptor;

Outcome store_table(Executor& x, const cpu::TableRegister& table) {
  const unsigned size = x.bits64() ? 8 : 4;
  const u64 at = TRY(x.address(2 + size, PageAccess::Write));
  std::array<std::byte, 10> image{};
  store_le<u16>(Bytes(image), 0, table.limit);
  store_le<u64>(Bytes(image), 2, table.base);
  TRY(x.bus.write(at, ConstBytes(image).first(2 + size), Privilege::Current));
  return x.done();
}

Outcome load_table(Executor& x, cpu::TableRegister& table) {
  const unsigned size = x.bits64() ? 8 : 4;
  const u64 at = TRY(x.address(2 + size, PageAccess::Read));
  const u64 limit = TRY(x.bus.load(at, 2, Privilege::Current));
  u64 base = TRY(x.bus.load(at + 2, size, Privilege::Current));
  // A 16-bit operand size gives a 24-bit base.
  if (!x.bits64() && x.i.has(seen::kOperandSize) == (x.i.mode == Mode::Bits32)) base &= 0xff'ffff;
  table = {.base = base, .limit = static_cast<u16>(limit)};
  return x.done();
}

Outcome mov_segment(Executor& x) {
  const Operand to = operand(x.i, 0);
  if (to.cls != RegClass::Segment) {
    const u64 selector = x.s.seg[operand(x.i, 1).number].selector;
    TRY(x.write(0, selector));
    return x.done();
  }
  const u16 selector = static_cast<u16>(TRY(x.read(1)));
  TRY(cpu::load_segment(x.s, x.bus, static_cast<SegReg>(to.number), selector));
  if (to.number == cpu::Ss) x.s.interrupt_shadow = true;
  return x.done();
}

Outcome load_far_pointer(Executor& x, SegReg seg) {
  const unsigned n = x.i.operand_size;
  const u64 at = TRY(x.address(n + 2, PageAccess::Read));
  const u64 offset = TRY(x.bus.load(at, n, Privilege::Current));
  const u16 selector = static_cast<u16>(TRY(x.bus.load(at + n, 2, Privilege::Current)));
  TRY(cpu::load_segment(x.s, x.bus, seg, selector));
  x.set_gpr(x.i.reg, n, offset);
  return x.done();
}

// The descriptor of a selector if this CPL and RPL may see it (system types by a mask), else nothing.
OrFault<bool> visible(Executor& x, u16 selector, u32 system_types, Descriptor& d) {
  if ((selector & ~3u) == 0) return false;
  OrFault<Descriptor> found = cpu::read_descriptor(x.s, x.bus, selector, cpu::general_protection());
  if (!found) {
    if (found.error().vector == cpu::kGp) return false;
    return found.error();
  }
  d = *found;
  if (!d.code_or_data() && !(system_types >> d.type() & 1)) return false;
  if (d.code() && d.conforming()) return true;
  return d.dpl() >= std::max<u8>(x.cpl(), selector & 3);
}

Outcome set_zero_flag(Executor& x, bool on) {
  x.s.rflags = on ? x.s.rflags | cpu::kZf : x.s.rflags & ~u64{cpu::kZf};
  return x.done();
}

Outcome access_rights(Executor& x) {
  const u32 types = x.s.long_mode_active() ? 0x1a04 : 0x1a3e;
  const u16 selector = static_cast<u16>(TRY(x.read(1)));
  Descriptor d;
  if (!TRY(visible(x, selector, types, d))) return set_zero_flag(x, false);
  x.set_gpr(x.i.reg, x.i.operand_size, d.low >> 32 & 0x00f0'ff00);
  return set_zero_flag(x, true);
}

Outcome segment_limit(Executor& x) {
  const u32 types = x.s.long_mode_active() ? 0x0a04 : 0x0a0e;
  const u16 selector = static_cast<u16>(TRY(x.read(1)));
  Descriptor d;
  if (!TRY(visible(x, selector, types, d))) return set_zero_flag(x, false);
  x.set_gpr(x.i.reg, x.i.operand_size, d.limit());
  return set_zero_flag(x, true);
}

Outcome verify(Executor& x, bool write) {
  const u16 selector = static_cast<u16>(TRY(x.read(0)));
  Descriptor d;
  bool good = TRY(visible(x, selector, 0, d));
  if (good) good = write ? !d.code() && (d.type() & 2) : !d.code() || (d.type() & 2);
  return set_zero_flag(x, good);
}

Outcome adjust_rpl(Executor& x) {
  const u64 to = TRY(x.read(0)), from = TRY(x.read(1));
  const bool raise = (to & 3) < (from & 3);
  if (raise) TRY(x.write(0, (to & ~u64{3}) | (from & 3)));
  return set_zero_flag(x, raise);
}

}  // namespace

Outcome execute_segments(Executor& x) {
  switch (x.i.mnemonic) {
    case Mnemonic::Mov: return mov_segment(x);
    case Mnemonic::Lds: return load_far_pointer(x, cpu::Ds);
    case Mnemonic::Les: return load_far_pointer(x, cpu::Es);
    case Mnemonic::Lss: return load_far_pointer(x, cpu::Ss);
    case Mnemonic::Lfs: return load_far_pointer(x, cpu::Fs);
    case Mnemonic::Lgs: return load_far_pointer(x, cpu::Gs);
    case Mnemonic::Sgdt: return store_table(x, x.s.gdtr);
    case Mnemonic::Sidt: return store_table(x, x.s.idtr);
    case Mnemonic::Lgdt: return load_table(x, x.s.gdtr);
    case Mnemonic::Lidt: return load_table(x, x.s.idtr);
    case Mnemonic::Sldt: TRY(x.write(0, x.s.ldtr.selector)); return x.done();
    case Mnemonic::Str: TRY(x.write(0, x.s.tr.selector)); return x.done();
    case Mnemonic::Lldt:
      TRY(cpu::load_ldtr(x.s, x.bus, static_cast<u16>(TRY(x.read(0)))));
      return x.done();
    case Mnemonic::Ltr:
      TRY(cpu::load_tr(x.s, x.bus, static_cast<u16>(TRY(x.read(0)))));
      return x.done();
    case Mnemonic::Lar: return access_rights(x);
    case Mnemonic::Lsl: return segment_limit(x);
    case Mnemonic::Verr: return verify(x, false);
    case Mnemonic::Verw: return verify(x, true);
    case Mnemonic::Arpl: return adjust_rpl(x);
    default: return Outcome::Native;
  }
}

}  // namespace menura::jit::x86
