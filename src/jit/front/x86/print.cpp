#include "jit/front/x86/print.h"

#include "base/format.h"

namespace menura::jit::x86 {
namespace {

constexpr const char* kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs"};

std::string gpr(unsigned number, unsigned size, bool high) {
  constexpr const char* kLow[8] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
  constexpr const char* kHigh[4] = {"ah", "ch", "dh", "bh"};
  if (high) return kHigh[number & 3];
  if (number >= 8)
    return format("r{}{}", number, size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
  std::string word = kLow[number];
  if (size == 2) return word;
  if (size == 1) return number < 4 ? word.substr(0, 1) + "l" : word + "l";
  return (size == 8 ? "r" : "e") + word;
}

std::string vector_register(unsigned number, unsigned size) {
  return format("{}mm{}", size == 32 ? "y" : "x", number);
}

std::string in_register(const Operand& operand) {
  switch (operand.cls) {
    case RegClass::None: break;
    case RegClass::Gpr: return gpr(operand.number, operand.size, operand.high);
    case RegClass::Segment: return operand.number < 6 ? kSegments[operand.number] : "(bad)";
    case RegClass::Control: return format("cr{}", operand.number);
    case RegClass::Debug: return format("dr{}", operand.number);
    case RegClass::X87: return format("st{}", operand.number);
    case RegClass::Mmx: return format("mm{}", operand.number);
    case RegClass::Vector: return vector_register(operand.number, operand.size);
  }
  return "(bad)";
}

u64 truncate(u64 value, unsigned bytes) {
  return bytes >= 8 ? value : value & ((u64{1} << bytes * 8) - 1);
}

std::string size_word(unsigned size) {
  switch (size) {
    case 1: return "byte ptr ";
    case 2: return "word ptr ";
    case 4: return "dword ptr ";
    case 6: return "fword ptr ";
    case 8: return "qword ptr ";
    case 10: return "tbyte ptr ";
    case 16: return "xmmword ptr ";
    case 32: return "ymmword ptr ";
    default: return "";
  }
}

std::string signed_hex(i64 value) {
  return value < 0 ? format("-{:#x}", u64{0} - static_cast<u64>(value))
                   : format("+{:#x}", static_cast<u64>(value));
}

std::string address(const Insn& insn, u64 pc) {
  unsigned size = insn.address_size;
  if (insn.has(seen::kRipRelative))
    return format("[{}{}] # {:#x}", size == 8 ? "rip" : "eip", signed_hex(insn.disp),
                  truncate(pc + insn.length + static_cast<u64>(insn.disp), size));
  std::string text;
  if (insn.base != kNoRegister) text = gpr(insn.base, size, false);
  if (insn.index != kNoRegister) {
    if (!text.empty()) text += "+";
    text += insn.has(seen::kVsib) ? vector_register(insn.index, vsib_index_size(insn))
                                  : gpr(insn.index, size, false);
    if (insn.has(seen::kSib)) text += format("*{}", 1u << insn.scale);
  }
  if (text.empty()) return format("[{:#x}]", truncate(static_cast<u64>(insn.disp), size));
  if (insn.disp != 0) text += signed_hex(insn.disp);
  return "[" + text + "]";
}

// The segment is written when it is not the one the address implies.
std::string segment(const Insn& insn) {
  return insn.override_segment == Segment::None
             ? std::string{}
             : format("{}:", kSegments[static_cast<unsigned>(insn.override_segment)]);
}

std::string print_operand(const Insn& insn, unsigned which, const Operand& operand, u64 pc) {
  switch (operand.kind) {
    case OperandKind::None: return {};
    case OperandKind::Register: return in_register(operand);
    case OperandKind::Memory: return size_word(operand.size) + segment(insn) + address(insn, pc);
    case OperandKind::StringSource:
      return size_word(operand.size) + segment(insn) + "[" + gpr(6, insn.address_size, false) + "]";
    case OperandKind::StringDest:
      return size_word(operand.size) + "es:[" + gpr(7, insn.address_size, false) + "]";
    case OperandKind::Immediate: {
      u64 value = immediate(insn, which);
      bool extended = row_of(insn).operands[which].place == Place::ImmSigned;
      return format("{:#x}", extended ? truncate(value, insn.operand_size) : value);
    }
    case OperandKind::Relative:
      return format("{:#x}", truncate(pc + insn.length + insn.imm, insn.operand_size));
    case OperandKind::FarPointer: return format("{:#x}:{:#x}", insn.imm2, insn.imm);
  }
  return {};
}

std::string prefixes(const Insn& insn, const Row& row) {
  std::string text;
  if (insn.has(seen::kLock)) text += "lock ";
  if (insn.has(seen::kRep | seen::kRepne)) {
    if ((row.attributes & attr::kRep) != 0) text += "rep ";
    if ((row.attributes & attr::kRepWhile) != 0) text += insn.has(seen::kRep) ? "repe " : "repne ";
  }
  return text;
}

// The size that spells the mnemonic.
unsigned naming_size(const Insn& insn, const Row& row) {
  if (insn.mnemonic == Mnemonic::Jcxz) return insn.address_size;
  if ((row.attributes & attr::kString) != 0) return (insn.opcode & 1) == 0 ? 1 : insn.operand_size;
  return insn.operand_size;
}

}  // namespace

std::string print(const Insn& insn, u64 pc) {
  if (insn.status != Status::Ok) return "(bad)";
  const Row& row = row_of(insn);
  std::string text = prefixes(insn, row) + std::string(name(insn.mnemonic, naming_size(insn, row)));
  for (unsigned i = 0; i < kMaxOperands; ++i) {
    Operand here = operand(insn, i);
    if (here.kind == OperandKind::None) break;
    text += (i == 0 ? " " : ", ") + print_operand(insn, i, here, pc);
  }
  return text;
}

}  // namespace menura::jit::x86
