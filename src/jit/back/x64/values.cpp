#include "jit/back/x64/values.h"

namespace menura::x64 {

using ir::Opcode;

namespace {

// ADD or SUB of a constant to all of a register: how far it moves, else 0.
i64 constant_move(const ir::Native& n) {
  const bool group1 = n.map == ir::Native::One && (n.opcode == 0x81 || n.opcode == 0x83);
  if (!group1 || !n.wide || n.rm.kind != ir::Operand::General) return 0;
  if (n.reg.number == 0) return static_cast<i64>(n.imm);
  return n.reg.number == 5 ? -static_cast<i64>(n.imm) : 0;
}

}  // namespace

bool Values::follows(const ir::Op& check) {
  constexpr i64 kFar = 0x7fff'0000;
  const ir::Address& a = check.address;
  const bool near = a.base == ir::kNone || (a.disp < kFar && a.disp > -kFar);
  return check.reg == ir::kNone && !a.limited && a.size == 8 && a.wrap == 8 && near;
}

Values::Place Values::place(const ir::Address& a) const {
  Place p{.base = a.base,
          .index = a.index,
          .scale = a.scale,
          .segment = a.segment,
          .base_value = 0,
          .index_value = 0,
          .epoch = epoch_,
          .at = a.disp};
  if (a.base != ir::kNone) {
    p.base_value = value_[a.base];
    p.at += moved_[a.base];
  }
  if (a.index != ir::kNone) {
    p.index_value = value_[a.index];
    p.at += moved_[a.index] * (i64{1} << a.scale);
  }
  return p;
}

void Values::pass(const ir::Block& block, const ir::Op& op) {
  switch (op.code) {
    case Opcode::Native: {
      const ir::Native& n = block.natives[op.native];
      if (const i64 by = constant_move(n)) {
        moved_[n.rm.number] += by;
        return;
      }
      for (unsigned r = 0; r < 16; ++r)
        if (n.general_written >> r & 1) written(r);
      return;
    }
    case Opcode::Lea: {
      const ir::Address& a = op.address;
      const bool itself = a.base == op.reg && a.index == ir::kNone && a.segment == ir::kNone;
      if (itself && op.size == 8 && a.size == 8)
        moved_[op.reg] += a.disp;
      else
        written(op.reg);
      return;
    }
    case Opcode::LoadStash: return written(op.reg);
    default: epoch_ += forgets(op.code);
  }
}

bool Values::forgets(Opcode code) {
  switch (code) {
    case Opcode::Step:
    case Opcode::SetInterrupts:
    case Opcode::SwapGs:
    case Opcode::SetAccess:
    case Opcode::ReadTsc:
    case Opcode::RepeatMove:
    case Opcode::RepeatStore: return true;
    default: return false;
  }
}

}  // namespace menura::x64
