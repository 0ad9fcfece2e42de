// Descriptor tables, selectors, segment bases, and MOV to and from system registers.
#include "cpu/x86/control.h"
#include "cpu/x86/paging.h"
#include "jit/front/x86/execution.h"

namespace menura::jit::x86 {

namespace {

// #GP(0) for an address that cannot be in a base register.
OrFault<void> check_canonical(const Execution& x, u64 base) {
  if (x.code64() && !x86::canonical(x.s, base)) return x86::general_protection();
  return {};
}

u64 read_unit(ConstBytes image, size_t at, unsigned size) {
  u64 value = 0;
  std::memcpy(&value, image.data() + at, size);
  return value;
}

}  // namespace

// SGDT, SIDT
Outcome store_table(Execution& x) {
  const x86::TableRegister& table = x.insn.mnemonic == Mnemonic::Sgdt ? x.s.gdtr : x.s.idtr;
  std::array<std::byte, 10> image;
  store_le(Bytes(image), 0, table.limit);
  store_le(Bytes(image), 2, table.base);
  const unsigned size = operand(x.insn, 0).size;
  TRY(x.bus.write(TRY(x.address(size, PageAccess::Write)), std::span(image).first(size),
                  Privilege::Current));
  return Outcome::Done;
}

// LGDT, LIDT
Outcome load_table(Execution& x) {
  std::array<std::byte, 10> image{};
  const unsigned size = operand(x.insn, 0).size;
  TRY(x.bus.read(TRY(x.address(size, PageAccess::Read)), std::span(image).first(size),
                 Privilege::Current));
  x86::TableRegister table{.base = read_unit(image, 2, 8),
                           .limit = static_cast<u16>(read_unit(image, 0, 2))};
  if (x.operand16()) table.base &= 0xff'ffff;
  TRY(check_canonical(x, table.base));
  (x.insn.mnemonic == Mnemonic::Lgdt ? x.s.gdtr : x.s.idtr) = table;
  return Outcome::Done;
}

// SLDT, STR
Outcome store_selector(Execution& x) {
  TRY(x.write(0, (x.insn.mnemonic == Mnemonic::Sldt ? x.s.ldtr : x.s.tr).selector));
  return Outcome::Done;
}

// LLDT, LTR
Outcome load_system_segment(Execution& x) {
  const u16 selector = static_cast<u16>(TRY(x.read(0)));
  if (x.insn.mnemonic == Mnemonic::Lldt)
    TRY(x86::load_ldtr(x.s, x.bus, selector));
  else
    TRY(x86::load_tr(x.s, x.bus, selector));
  return Outcome::Done;
}

// LAR, LSL
Outcome query_segment(Execution& x) {
  constexpr u64 kAccessRights = 0x00f0'ff00;
  const bool rights = x.insn.mnemonic == Mnemonic::Lar;
  const u16 selector = static_cast<u16>(TRY(x.read(1)));
  const std::optional<x86::Descriptor> found = TRY(x86::query_descriptor(
      x.s, x.bus, selector, rights ? x86::Query::AccessRights : x86::Query::Limit));
  x.set_flags(x86::kZf, found ? u64{x86::kZf} : 0);
  if (found) x.set(operand(x.insn, 0), rights ? found->low >> 32 & kAccessRights : found->limit());
  return Outcome::Done;
}

// VERR, VERW
Outcome verify_segment(Execution& x) {
  const bool reads = x.insn.mnemonic == Mnemonic::Verr;
  const u16 selector = static_cast<u16>(TRY(x.read(0)));
  const std::optional<x86::Descriptor> found = TRY(x86::query_descriptor(
      x.s, x.bus, selector, reads ? x86::Query::ReadAccess : x86::Query::WriteAccess));
  x.set_flags(x86::kZf, found ? u64{x86::kZf} : 0);
  return Outcome::Done;
}

Outcome adjust_rpl(Execution& x) {
  const u64 dest = TRY(x.read(0)), rpl = x.get(operand(x.insn, 1)) & 3;
  const bool raised = (dest & 3) < rpl;
  if (raised) TRY(x.write(0, (dest & ~u64{3}) | rpl));
  x.set_flags(x86::kZf, raised ? u64{x86::kZf} : 0);
  return Outcome::Done;
}

// LDS, LES, LSS, LFS, LGS
Outcome load_far_pointer(Execution& x) {
  x86::SegReg seg = x86::Ds;
  switch (x.insn.mnemonic) {
    case Mnemonic::Les: seg = x86::Es; break;
    case Mnemonic::Lss: seg = x86::Ss; break;
    case Mnemonic::Lfs: seg = x86::Fs; break;
    case Mnemonic::Lgs: seg = x86::Gs; break;
    default: break;
  }
  const unsigned size = operand(x.insn, 1).size;
  std::array<std::byte, 6> image{};
  TRY(x.bus.read(TRY(x.address(size, PageAccess::Read)), std::span(image).first(size),
                 Privilege::Current));
  const u16 selector = static_cast<u16>(read_unit(image, size - 2, 2));
  TRY(x86::load_segment(x.s, x.bus, seg, selector));
  x.set(operand(x.insn, 0), read_unit(image, 0, size - 2));
  x.s.interrupt_shadow = seg == x86::Ss;
  return Outcome::Done;
}

// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE
Outcome segment_base(Execution& x) {
  if (!(x.s.cr4 & x86::kCr4Fsgsbase)) return x86::undefined_opcode();
  const Mnemonic m = x.insn.mnemonic;
  const bool fs = m == Mnemonic::Rdfsbase || m == Mnemonic::Wrfsbase;
  u64& base = x.s.seg[fs ? x86::Fs : x86::Gs].base;
  if (m == Mnemonic::Rdfsbase || m == Mnemonic::Rdgsbase) {
    TRY(x.write(0, base));
    return Outcome::Done;
  }
  const u64 value = TRY(x.read(0));
  TRY(check_canonical(x, value));
  base = value;
  return Outcome::Done;
}

Outcome swapgs(Execution& x) {
  std::swap(x.s.seg[x86::Gs].base, x.s.kernel_gs_base);
  return Outcome::Done;
}

Outcome move_system(Execution& x) {
  const Operand to = operand(x.insn, 0), from = operand(x.insn, 1);
  if (from.cls == RegClass::Segment) {
    TRY(x.write(0, x.s.seg[from.number].selector));
  } else if (to.cls == RegClass::Segment) {
    const auto seg = static_cast<x86::SegReg>(to.number);
    TRY(x86::load_segment(x.s, x.bus, seg, static_cast<u16>(TRY(x.read(1)))));
    x.s.interrupt_shadow = seg == x86::Ss;
  } else if (from.cls == RegClass::Control) {
    x.set(to, TRY(x86::read_control(x.s, x.bus, from.number)));
  } else if (to.cls == RegClass::Control) {
    TRY(x86::write_control(x.s, x.bus, to.number, x.get(from)));
  } else if (from.cls == RegClass::Debug || to.cls == RegClass::Debug) {
    const bool reads = from.cls == RegClass::Debug;
    OrFault<u64> done = reads ? x86::read_debug(x.s, from.number) : OrFault<u64>(u64{0});
    if (!reads)
      if (OrFault<void> wrote = x86::write_debug(x.s, to.number, x.get(from)); !wrote)
        done = wrote.error();
    if (!done) {
      if (done.error().vector == x86::kDb) x.s.dr6 |= x86::kDr6Bd;
      return done.error();
    }
    if (reads) x.set(to, *done);
  } else {
    return Outcome::Native;
  }
  return Outcome::Done;
}

}  // namespace menura::jit::x86
