// From decoded instruction to template: which prefixes, fields and registers are re-emitted.
#include "base/check.h"
#include "jit/front/x86/translate.h"

namespace menura::jit::x86 {

namespace {

// The values of the mandatory-prefix field that a row admits, in the order none, 66, F3, F2.
unsigned admitted_prefixes(const Row& row) { return row.encoding >> 12 & 15; }

void set_prefixes(ir::Native& n, const Insn& insn, const Row& row) {
  const unsigned prefixes = admitted_prefixes(row);
  constexpr unsigned kNone = 1, k66 = 2, kF3 = 4, kF2 = 8;
  if (row.is_vex()) {
    n.vex_pp = prefixes == k66 ? 1 : prefixes == kF3 ? 2 : prefixes == kF2 ? 3 : 0;
    n.vex_l = insn.vector_size == 32;
    return;
  }
  if (prefixes == kF3) n.repeat = 0xf3;
  if (prefixes == kF2) n.repeat = 0xf2;
  if (prefixes == k66)
    n.operand16 = true;
  else if (prefixes != kNone)
    n.operand16 = insn.operand_size == 2;
}

ir::Operand general(const Operand& o) {
  return {.kind = ir::Operand::General,
          .number = o.number,
          .bytes = static_cast<u8>(o.size),
          .high = o.high,
          .read = o.read,
          // A 16- or 8-bit write keeps the rest of the register: it reads it as well.
          .written = o.written};
}

ir::Operand encode(const Operand& o) {
  switch (o.kind) {
    case OperandKind::Memory:
      return {.kind = ir::Operand::Memory, .read = o.read, .written = o.written};
    case OperandKind::Register:
      if (o.cls == RegClass::Gpr) return general(o);
      return {.kind = ir::Operand::Fixed, .number = o.number};
    default: return {};
  }
}

// Outside 64-bit mode VEX.W cannot make a general operand wide, nor an implicit one (VPCMPESTRI), while
// the host's 64-bit mode lets it.
bool ignores_wide(const Insn& insn, const Row& row) {
  if (insn.mode == Mode::Bits64) return false;
  if (row.implicit.read | row.implicit.written) return true;
  for (const Op& op : row.operands)
    if (op.cls == RegClass::Gpr) return true;
  return false;
}

void use(ir::Native& n, const ir::Operand& o) {
  if (o.kind != ir::Operand::General) return;
  n.general_used |= static_cast<u16>(1u << o.number);
  if (o.written) n.general_written |= static_cast<u16>(1u << o.number);
}

// A0-A3 name their address without ModRM, which 64-bit hosts would read as 8 bytes: 88-8B instead.
ir::Native from_moffs(const Insn& insn) {
  constexpr u8 kOpcodes[] = {0x8a, 0x8b, 0x88, 0x89};
  const unsigned which = insn.opcode & 3;
  const bool load = which < 2;
  const u8 bytes = (which & 1) ? insn.operand_size : 1;
  ir::Native n{.opcode = kOpcodes[which], .modrm = true, .general_written = 0};
  n.operand16 = bytes == 2;
  n.wide = bytes == 8;
  n.reg = {
      .kind = ir::Operand::General, .number = 0, .bytes = bytes, .read = !load, .written = load};
  n.rm = {.kind = ir::Operand::Memory, .read = load, .written = !load};
  use(n, n.reg);
  return n;
}

// 40-4F are REX prefixes on the host: FF /0 and /1 instead.
ir::Native from_short_inc(const Insn& insn) {
  ir::Native n{
      .opcode = 0xff, .operand16 = insn.operand_size == 2, .modrm = true, .general_written = 0};
  n.reg = {.kind = ir::Operand::Fixed, .number = static_cast<u8>(insn.opcode < 0x48 ? 0 : 1)};
  n.rm = general(operand(insn, 0));
  n.flags = true;
  use(n, n.rm);
  return n;
}

}  // namespace

ir::Native native_template(const Insn& insn) {
  const Row& row = row_of(insn);
  ensure(lowering(row) == Lowering::Native, "template of an instruction that is not native");
  if (row.map() == Map::One && (insn.opcode & 0xfc) == 0xa0) return from_moffs(insn);
  if (row.map() == Map::One && (insn.opcode & 0xf0) == 0x40) return from_short_inc(insn);
  ir::Native n{.general_written = 0};
  n.map = static_cast<ir::Native::Map>(row.map());
  n.opcode = row.map() == Map::One && insn.opcode == 0x82 ? 0x80 : insn.opcode;
  set_prefixes(n, insn, row);
  n.lock = insn.has(seen::kLock);
  n.wide = (insn.rex & 8) != 0 && !ignores_wide(insn, row);
  n.modrm = insn.has(seen::kModrm);
  n.imm_size = insn.imm_at ? static_cast<u8>(insn.length - insn.imm_at) : 0;
  n.imm = insn.imm;
  if (n.modrm) {
    n.reg = {.kind = ir::Operand::Fixed, .number = static_cast<u8>(insn.modrm >> 3 & 7)};
    n.rm = {.kind = ir::Operand::Fixed, .number = static_cast<u8>(insn.modrm & 7)};
    if (insn.is_memory()) n.rm = {.kind = ir::Operand::Memory};
  }
  for (unsigned i = 0; i < kMaxOperands; ++i) {
    const Operand o = operand(insn, i);
    const ir::Operand encoded = encode(o);
    switch (row.operands[i].place) {
      case Place::Reg: n.reg = encoded; break;
      case Place::Rm: n.rm = encoded; break;
      case Place::Vvvv: n.vvvv = encoded; break;
      case Place::Opcode:
        n.rm = encoded;
        n.plus_reg = true;
        break;
      case Place::Imm2: n.imm |= static_cast<u64>(insn.imm2) << 8; break;
      case Place::Is4: n.imm = (n.imm & 0xf) | static_cast<u64>(o.number) << 4; break;
      default: break;
    }
    use(n, encoded);
  }
  n.general_used |= row.implicit.read | row.implicit.written;
  n.general_written |= row.implicit.written;
  n.flags = ((row.flags.read | row.flags.written | row.flags.undefined) & flag::kStatus) != 0;
  n.may_trap = unit(row) != Unit::Integer || insn.mnemonic == Mnemonic::Div ||
               insn.mnemonic == Mnemonic::Idiv;
  return n;
}

ir::Address native_address(const Insn& insn, u64 next_pc, u32 mode) {
  const bool bits64 = (mode & mode_bit::kCodeSize) == static_cast<u32>(Mode::Bits64);
  ir::Address a{.disp = insn.disp, .base = insn.base, .index = insn.index, .scale = insn.scale};
  static_assert(kNoRegister == ir::kNone);
  a.size = insn.address_size;
  a.wrap = bits64 ? 8 : 4;
  if (insn.has(seen::kRipRelative)) a.disp += static_cast<i64>(next_pc);
  if (a.base == ir::kNone && a.index == ir::kNone && a.size == 4) a.disp = static_cast<u32>(a.disp);
  const bool based = insn.segment == Segment::Fs || insn.segment == Segment::Gs ||
                     (!bits64 && !(mode & mode_bit::kFlat));
  a.segment = based ? static_cast<u8>(insn.segment) : ir::kNone;
  a.limited = based && !bits64;
  return a;
}

unsigned memory_size(const Insn& insn) {
  for (unsigned i = 0; i < kMaxOperands; ++i) {
    const Operand o = operand(insn, i);
    if (o.kind == OperandKind::Memory) return o.size;
  }
  return 0;
}

}  // namespace menura::jit::x86
