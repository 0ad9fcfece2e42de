#include "jit/ir/block.h"

#include <array>

#include "base/format.h"

namespace menura::ir {

namespace {

struct Row {
  std::string_view name, uses, effects;
};
constexpr std::array kRows{
#define OPCODE(name, uses, effects, what) Row{#name, uses, effects},
#include "jit/ir/opcodes.def"
#undef OPCODE
};
const Row& row(Opcode code) { return kRows[static_cast<size_t>(code)]; }

std::string text(const Address& a) {
  std::string s = a.segment == kNone ? "[" : fmt::format("s{}:[", a.segment);
  if (a.base != kNone) s += fmt::format("r{} ", a.base);
  if (a.index != kNone) s += fmt::format("+ r{}<<{} ", a.index, a.scale);
  return s + fmt::format("{:+#x}].{}", a.disp, a.size);
}

std::string text(const Operand& o) {
  switch (o.kind) {
    case Operand::Absent: return "";
    case Operand::Fixed: return fmt::format(" #{}", o.number);
    case Operand::General: return fmt::format(" r{}{}", o.number, o.high ? "h" : "");
    case Operand::Memory: return " P";
  }
  return "";
}

std::string text(const Native& n) {
  return fmt::format("{}{:02x}{}{}{}{}", n.lock ? "lock " : "", n.opcode, text(n.reg), text(n.rm),
                     text(n.vvvv), n.imm_size ? fmt::format(" {:#x}", n.imm) : "");
}

bool is_pointer_user(const Block& b, const Op& op) {
  switch (op.code) {
    case Opcode::Native: return b.natives[op.native].rm.kind == Operand::Memory;
    case Opcode::StoreImm:
    case Opcode::StashMem:
    case Opcode::StoreStash:
    case Opcode::TargetMem: return true;
    default: return false;
  }
}

bool has_foreign(Opcode code) {
  switch (code) {
    case Opcode::Step:
    case Opcode::SetInterrupts:
    case Opcode::ReadTsc:
    case Opcode::RepeatMove:
    case Opcode::RepeatStore: return true;
    default: return false;
  }
}

bool sets_pointer(Opcode code) {
  return code == Opcode::CheckLoad || code == Opcode::CheckStore || code == Opcode::Pointer;
}

}  // namespace

std::string_view name(Opcode code) { return row(code).name; }
std::string_view uses(Opcode code) { return row(code).uses; }
bool has_effect(Opcode code, char effect) {
  return row(code).effects.find(effect) != std::string_view::npos;
}

void Block::begin(const Key& start) {
  key = start;
  ops.clear();
  natives.clear();
  foreigns.clear();
  pcs.clear();
  bytes = 0;
  flags_wanted = kAllFlags;
  ahead.size = 0;
  keeps_pointers = false;
}

Op& Block::add(Opcode code) {
  Op& op = ops.emplace_back();
  op.code = code;
  op.insn = static_cast<u16>(pcs.empty() ? 0 : pcs.size() - 1);
  return op;
}

void Block::insn(u64 pc) {
  pcs.push_back(pc);
  add(Opcode::Insn).imm = pc;
}

void Block::check(Opcode code, u8 size, const Address& address) {
  Op& op = add(code);
  op.size = size;
  op.address = address;
}

void Block::native(const Native& native, u8 flags_read, u8 flags_written) {
  Op& op = add(Opcode::Native);
  op.native = static_cast<u16>(natives.size());
  op.flags_read = flags_read;
  op.flags_written = flags_written;
  natives.push_back(native);
}

void Block::step(u64 pc, const Foreign& description) {
  rarely_foreign(Opcode::Step, pc, description).flags_read = 0xff;
}

Op& Block::rarely_foreign(Opcode code, u64 pc, const Foreign& description) {
  Op& op = add(code);
  op.imm = pc;
  op.native = static_cast<u16>(foreigns.size());
  foreigns.push_back(description);
  return op;
}

void Block::jump(u64 pc) { add(Opcode::Jump).imm = pc; }

void Block::exit(ExitReason reason, u64 pc) {
  Op& op = add(Opcode::Exit);
  op.condition = static_cast<u8>(reason);
  op.imm = pc;
}

bool Block::ended() const { return !ops.empty() && has_effect(ops.back().code, 'E'); }

std::string print(const Block& block) {
  std::string out = fmt::format("block {:#x} mode {:#x} physical {:#x}\n", block.key.pc,
                                block.key.mode, block.key.physical);
  for (const Op& op : block.ops) {
    out += fmt::format("  {}{:<12}", op.code == Opcode::Insn ? "" : "  ", name(op.code));
    for (char use : uses(op.code)) {
      switch (use) {
        case 'n': out += " " + text(block.natives[op.native]); break;
        case 'r': out += fmt::format(" r{}", op.reg); break;
        case 's': out += fmt::format(" .{}", op.size); break;
        case 'a': out += " " + text(op.address); break;
        case 'i': out += fmt::format(" {:#x}", op.imm); break;
        case 't': out += fmt::format(" {:#x}", op.taken); break;
        case 'c': out += fmt::format(" ?{}", op.condition); break;
      }
    }
    out += fmt::format("{}  ; live {:02x}\n", op.poll ? " poll" : "", op.flags_live);
  }
  return out;
}

std::string verify(const Block& block) {
  bool pointer = false, ended = false;
  for (size_t i = 0; i < block.ops.size(); ++i) {
    const Op& op = block.ops[i];
    auto wrong = [&](std::string_view what) {
      return fmt::format("op {} ({}): {}", i, name(op.code), what);
    };
    if (op.code >= Opcode::Count) return fmt::format("op {}: no such opcode", i);
    if (ended) return wrong("behind the end of the block");
    if (op.code == Opcode::Native && op.native >= block.natives.size()) return wrong("no template");
    if (has_foreign(op.code) && op.native >= block.foreigns.size()) return wrong("no description");
    if (is_pointer_user(block, op) && !pointer) return wrong("uses P, which nothing has set");
    for (char use : uses(op.code)) {
      if (use == 'r' && op.reg >= 16) return wrong("register out of range");
      if (use == 's' && op.size == 0) return wrong("no size");
      if (use == 'a' && op.address.size != 2 && op.address.size != 4 && op.address.size != 8)
        return wrong("address size");
    }
    // A pointer is good for one operation: every later one needs the scratch registers.
    pointer = sets_pointer(op.code);
    ended = has_effect(op.code, 'E');
  }
  return ended ? "" : "the block has no end";
}

}  // namespace menura::ir
