#include <algorithm>
#include <vector>

#include "jit/front/x86/insn.h"
#include "jit/front/x86/tables.h"

namespace menura::jit::x86 {
namespace {

unsigned bytes(const Insn& insn, Size size) {
  unsigned operand = insn.operand_size;
  bool wide = operand == 8;
  switch (size) {
    case Size::Xsave:
    case Size::None: return 0;
    case Size::B: return 1;
    case Size::W: return 2;
    case Size::D: return 4;
    case Size::Q: return 8;
    case Size::T: return 10;
    case Size::Dq: return 16;
    case Size::Qq: return 32;
    case Size::V: return operand;
    case Size::Z: return std::min(operand, 4u);
    case Size::Y: return wide ? 8 : 4;
    case Size::Native: return wide ? 8 : 4;
    case Size::Far: return std::min(operand, 4u) + 2;
    case Size::Pair: return 2 * operand;
    case Size::Desc: return wide ? 10 : 6;
    case Size::Env: return operand == 2 ? 14 : 28;
    case Size::State: return operand == 2 ? 94 : 108;
    case Size::Fx: return 512;
    case Size::X: return insn.vector_size;
    case Size::X2: return insn.vector_size / 2;
    case Size::X4: return insn.vector_size / 4;
    case Size::X8: return insn.vector_size / 8;
  }
  return 0;
}

Operand in_register(const Insn& insn, const Op& op, unsigned number) {
  Operand result{.kind = OperandKind::Register, .cls = op.cls};
  unsigned size = bytes(insn, op.reg_size);
  // REX extends neither MMX, x87 nor segment register numbers.
  if (op.cls == RegClass::Mmx || op.cls == RegClass::X87 || op.cls == RegClass::Segment)
    number &= 7;
  if (op.cls == RegClass::Vector) size = std::max(size, 16u);
  if (op.cls == RegClass::Gpr && size == 1 && number >= 4 && number < 8 &&
      op.place != Place::Fixed && !insn.has(seen::kRex)) {
    result.high = true;
    number -= 4;
  }
  result.number = static_cast<u8>(number);
  result.size = static_cast<u16>(size);
  return result;
}

Operand resolve(const Insn& insn, const Op& op) {
  u16 size = static_cast<u16>(bytes(insn, op.mem_size));
  switch (op.place) {
    case Place::None: return {};
    case Place::Reg: return in_register(insn, op, insn.reg);
    case Place::Opcode: return in_register(insn, op, insn.rm);
    case Place::Vvvv: return in_register(insn, op, insn.vvvv);
    // Outside 64-bit mode bit 7 is ignored.
    case Place::Is4:
      return in_register(insn, op, insn.imm >> 4 & (insn.mode == Mode::Bits64 ? 15 : 7));
    case Place::Fixed: return in_register(insn, op, op.fixed);
    case Place::Rm:
      if (!insn.is_memory()) return in_register(insn, op, insn.rm);
      return {.kind = OperandKind::Memory, .size = size};
    case Place::Vsib:
    case Place::Moffs: return {.kind = OperandKind::Memory, .size = size};
    case Place::Imm:
    case Place::ImmSigned:
    case Place::Imm2:
    case Place::One: return {.kind = OperandKind::Immediate, .size = size};
    case Place::Rel: return {.kind = OperandKind::Relative, .size = size};
    case Place::Far: return {.kind = OperandKind::FarPointer, .size = size};
    case Place::StringSource: return {.kind = OperandKind::StringSource, .size = size};
    case Place::StringDest: return {.kind = OperandKind::StringDest, .size = size};
  }
  return {};
}

bool is_memory_place(const Op& op) {
  return op.place == Place::Vsib || op.place == Place::Moffs ||
         (op.place == Place::Rm && op.mem_size != Size::None);
}

bool has_class(const Row& row, RegClass cls) {
  return std::any_of(std::begin(row.operands), std::end(row.operands),
                     [&](const Op& op) { return op.cls == cls; });
}

Unit find_unit(const Row& row) {
  bool vector = has_class(row, RegClass::Vector) || (row.attributes & attr::kSse) != 0;
  if (vector) return row.is_vex() ? Unit::Avx : Unit::Sse;
  if (has_class(row, RegClass::Mmx)) return Unit::Mmx;
  bool escape = row.map() == Map::One && (row.opcode() & 0xF8) == 0xD8;
  return escape || (row.attributes & attr::kX87) != 0 ? Unit::X87 : Unit::Integer;
}

MemoryUse find_memory_use(const Row& row) {
  for (unsigned i = 0; i < kMaxOperands; ++i) {
    const Op& op = row.operands[i];
    if (op.place == Place::Rm && op.cls == RegClass::None && op.mem_size == Size::None)
      return MemoryUse::AddressOnly;
    if (!is_memory_place(op) || (row.encoding >> 24 & 1) == 0) continue;
    switch (row.access >> (2 * i) & 3) {
      case 0: return MemoryUse::None;
      case 1: return MemoryUse::Load;
      case 2: return MemoryUse::Store;
      default: return MemoryUse::Modify;
    }
  }
  return MemoryUse::None;
}

// What follows from a row, found once: the translator asks for each instruction.
struct Traits {
  Unit unit;
  MemoryUse memory_use;
};
const Traits& traits(const Row& row) {
  static const std::vector<Traits> kAll = [] {
    std::vector<Traits> all;
    for (unsigned i = 0; i < kTables.row_count; ++i)
      all.push_back({find_unit(kRows[i]), find_memory_use(kRows[i])});
    return all;
  }();
  return kAll[static_cast<size_t>(&row - kRows)];
}

}  // namespace

const Row& row_of(const Insn& insn) { return kRows[insn.row]; }

Operand operand(const Insn& insn, unsigned which) {
  const Row& row = kRows[insn.row];
  if (which >= kMaxOperands) return {};
  Operand result = resolve(insn, row.operands[which]);
  unsigned access = row.access >> (2 * which) & 3;
  if (result.kind == OperandKind::None) return result;
  result.read = (access & 1) != 0;
  result.written = (access & 2) != 0;
  return result;
}

u64 immediate(const Insn& insn, unsigned which) {
  switch (kRows[insn.row].operands[which].place) {
    case Place::One: return 1;
    case Place::Imm2: return insn.imm2;
    default: return insn.imm;
  }
}

unsigned vsib_index_size(const Insn& insn) {
  for (const Op& op : kRows[insn.row].operands)
    if (op.place == Place::Vsib) return bytes(insn, op.reg_size);
  return 0;
}

Unit unit(const Row& row) { return traits(row).unit; }

bool touches_mmx(const Row& row) {
  return has_class(row, RegClass::Mmx) || row.mnemonic == Mnemonic::Emms;
}

Lowering lowering(const Row& row) {
  constexpr u32 kOwn = attr::kEmit | attr::kCpl0 | attr::kIo | attr::kIopl | attr::kStack |
                       attr::kString | attr::kMasked;
  bool own = (row.attributes & kOwn) != 0 || row.control() != Control::None;
  return own ? Lowering::Emitter : Lowering::Native;
}

bool waits_for_x87(const Row& row) {
  switch (row.mnemonic) {
    case Mnemonic::Fninit:
    case Mnemonic::Fnclex:
    case Mnemonic::Fnstsw:
    case Mnemonic::Fnstcw:
    case Mnemonic::Fnstenv:
    case Mnemonic::Fnsave:
    case Mnemonic::Fneni:
    case Mnemonic::Fndisi:
    case Mnemonic::Fnsetpm:
    case Mnemonic::Fxsave:
    case Mnemonic::Fxsave64:
    case Mnemonic::Fxrstor:
    case Mnemonic::Fxrstor64: return false;
    default: return unit(row) == Unit::X87 || unit(row) == Unit::Mmx || touches_mmx(row);
  }
}

MemoryUse memory_use(const Row& row) { return traits(row).memory_use; }

FeatureSet needed(const Row& row, bool ymm) {
  FeatureSet result = kTables.forms[&row - kRows].needed;
  return ymm && (row.attributes & attr::kYmmIsAvx2) != 0 ? result.with(Feature::Avx2) : result;
}

unsigned alignment(const Row& row, unsigned bytes) {
  if ((row.attributes & attr::kAligned) != 0) {
    constexpr unsigned kXsave = 64, kFxsave = 16;
    return bytes == 0 ? kXsave : bytes > kXsave ? kFxsave : bytes;
  }
  bool sse = unit(row) == Unit::Sse && bytes == 16 && (row.attributes & attr::kUnaligned) == 0;
  return sse ? 16 : 1;
}

}  // namespace menura::jit::x86
