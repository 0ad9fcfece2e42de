// Compares the decoder with Zydis over all maps, opcodes, ModRM bytes and modes, with the prefixes that matter.
// By default a fixed sample runs; MENURA_EXHAUSTIVE=1 runs everything.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/format.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

namespace menura::jit::x86 {
namespace {

using Code = std::array<u8, 32>;

bool exhaustive() { return std::getenv("MENURA_EXHAUSTIVE") != nullptr; }

// A small generator of our own, so that samples are the same everywhere.
u64 scramble(u64 x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 27;
  x *= 0x94D049BB133111EB;
  return x ^ x >> 31;
}

struct Theirs {
  bool valid = false;
  ZydisDecodedInstruction insn;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

class Oracle {
 public:
  explicit Oracle(Mode mode) {
    if (mode == Mode::Bits64)
      ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (mode == Mode::Bits32)
      ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
    if (mode == Mode::Bits16)
      ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderEnableMode(&decoder_, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
    ZydisDecoderEnableMode(&decoder_, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_TRUE);
    for (ZydisDecoderMode off : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CLDEMOTE})
      ZydisDecoderEnableMode(&decoder_, off, ZYAN_FALSE);
  }
  Theirs decode(const Code& code) const {
    Theirs result;
    result.valid = ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &result.insn, result.operands));
    return result;
  }

 private:
  ZydisDecoder decoder_;
};

// Instruction sets menura does not offer; they must be Invalid here.
bool out_of_scope(const ZydisDecodedInstruction& insn) {
  if (insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
      insn.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
    return true;
  switch (insn.meta.isa_ext) {
    case ZYDIS_ISA_EXT_AMD3DNOW:
    case ZYDIS_ISA_EXT_AMX_BF16:
    case ZYDIS_ISA_EXT_AMX_INT8:
    case ZYDIS_ISA_EXT_AMX_TILE:
    case ZYDIS_ISA_EXT_AVX512VEX:
    case ZYDIS_ISA_EXT_AVX_VNNI:
    case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_FMA4:
    case ZYDIS_ISA_EXT_HRESET:
    case ZYDIS_ISA_EXT_KEYLOCKER:
    case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
    case ZYDIS_ISA_EXT_KNC:
    case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV:
    case ZYDIS_ISA_EXT_MCOMMIT:
    case ZYDIS_ISA_EXT_MOVDIR:
    case ZYDIS_ISA_EXT_PADLOCK:
    case ZYDIS_ISA_EXT_PCONFIG:
    case ZYDIS_ISA_EXT_PT:
    case ZYDIS_ISA_EXT_RTM:
    case ZYDIS_ISA_EXT_SERIALIZE:
    case ZYDIS_ISA_EXT_SGX:
    case ZYDIS_ISA_EXT_SGX_ENCLV:
    case ZYDIS_ISA_EXT_SMX:
    case ZYDIS_ISA_EXT_SNP:
    case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_TSX_LDTRK:
    case ZYDIS_ISA_EXT_UINTR:
    case ZYDIS_ISA_EXT_VMFUNC:
    case ZYDIS_ISA_EXT_WAITPKG:
    case ZYDIS_ISA_EXT_XOP:
    case ZYDIS_ISA_EXT_AMD_INVLPGB: return true;
    case ZYDIS_ISA_EXT_VTX: return insn.mnemonic != ZYDIS_MNEMONIC_VMCALL;
    case ZYDIS_ISA_EXT_SVM: return insn.mnemonic != ZYDIS_MNEMONIC_VMMCALL;
    case ZYDIS_ISA_EXT_CET: return insn.opcode != 0x1E;  // ENDBR and RDSSP live among the hint NOPs
    default: return false;
  }
}

// What Zydis calls differently.
std::string their_name(const Theirs& theirs) {
  static const std::map<std::string, std::string> kAliases = {
      {"feni8087_nop", "fneni"},   {"fdisi8087_nop", "fndisi"}, {"fsetpm287_nop", "fnsetpm"},
      {"prefetchwt1", "prefetch"},                     // on AMD a reserved form of PREFETCH
      {"rdsspd", "nop"},           {"rdsspq", "nop"},  // without shadow stacks
  };
  std::string name = ZydisMnemonicGetString(theirs.insn.mnemonic);
  if (theirs.insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
    if (name == "call" || name == "jmp") name += " far";
    if (name == "ret") name = "retf";
  }
  auto alias = kAliases.find(name);
  return alias == kAliases.end() ? name : alias->second;
}

std::string our_name(const Insn& insn) {
  std::string text = print(insn, 0);
  for (const char* prefix : {"lock ", "rep ", "repe ", "repne "})
    if (text.rfind(prefix, 0) == 0) text = text.substr(std::string(prefix).size());
  bool far = text.rfind("call far", 0) == 0 || text.rfind("jmp far", 0) == 0;
  return text.substr(0, text.find(' ', far ? text.find(' ') + 1 : 0));
}

ZydisRegister register_of(const Operand& operand) {
  auto encode = [](ZydisRegisterClass cls, unsigned id) {
    return ZydisRegisterEncode(cls, static_cast<ZyanU8>(id));
  };
  switch (operand.cls) {
    case RegClass::None: break;
    case RegClass::Gpr:
      if (operand.high) return static_cast<ZydisRegister>(ZYDIS_REGISTER_AH + operand.number);
      if (operand.size == 1 && operand.number >= 4)
        return static_cast<ZydisRegister>(ZYDIS_REGISTER_SPL + operand.number - 4);
      return encode(operand.size == 1   ? ZYDIS_REGCLASS_GPR8
                    : operand.size == 2 ? ZYDIS_REGCLASS_GPR16
                    : operand.size == 4 ? ZYDIS_REGCLASS_GPR32
                                        : ZYDIS_REGCLASS_GPR64,
                    operand.number);
    case RegClass::Segment: return encode(ZYDIS_REGCLASS_SEGMENT, operand.number);
    case RegClass::Control: return encode(ZYDIS_REGCLASS_CONTROL, operand.number);
    case RegClass::Debug: return encode(ZYDIS_REGCLASS_DEBUG, operand.number);
    case RegClass::X87: return encode(ZYDIS_REGCLASS_X87, operand.number);
    case RegClass::Mmx: return encode(ZYDIS_REGCLASS_MMX, operand.number);
    case RegClass::Vector:
      return encode(operand.size == 32 ? ZYDIS_REGCLASS_YMM : ZYDIS_REGCLASS_XMM, operand.number);
  }
  return ZYDIS_REGISTER_NONE;
}

ZydisRegister address_register(u8 number, unsigned size) {
  if (number == kNoRegister) return ZYDIS_REGISTER_NONE;
  return register_of({.cls = RegClass::Gpr, .number = number, .size = static_cast<u16>(size)});
}

// Differences are reported as "what", the first of them only.
std::string compare_memory(const Insn& ours, const Operand& operand,
                           const ZydisDecodedOperand& theirs) {
  const auto& mem = theirs.mem;
  if (operand.kind == OperandKind::StringSource || operand.kind == OperandKind::StringDest) {
    bool source = operand.kind == OperandKind::StringSource;
    if (mem.base != address_register(source ? 6 : 7, ours.address_size)) return "string register";
    Segment segment = source ? ours.segment : Segment::Es;
    return mem.segment == ZYDIS_REGISTER_ES + static_cast<int>(segment) ? "" : "string segment";
  }
  ZydisRegister base = address_register(ours.base, ours.address_size);
  if (ours.has(seen::kRipRelative))
    base = ours.address_size == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP;
  if (mem.base != base) return "base";
  ZydisRegister index = address_register(ours.index, ours.address_size);
  if (ours.has(seen::kVsib))
    index = register_of({.cls = RegClass::Vector,
                         .number = ours.index,
                         .size = static_cast<u16>(vsib_index_size(ours))});
  if (mem.index != index) return "index";
  if (index != ZYDIS_REGISTER_NONE && ours.address_size != 2 && mem.scale != 1 << ours.scale)
    return "scale";
  // LEA uses no segment; Zydis reads 3E before a near indirect branch as NOTRACK.
  bool no_segment = ours.mnemonic == Mnemonic::Lea ||
                    row_of(ours).control() == Control::CallIndirect ||
                    row_of(ours).control() == Control::JumpIndirect;
  if (!no_segment && mem.segment != ZYDIS_REGISTER_ES + static_cast<int>(ours.segment))
    return "segment";
  u64 mask = ours.address_size == 8 ? ~u64{0} : (u64{1} << ours.address_size * 8) - 1;
  if (((static_cast<u64>(mem.disp.value) ^ static_cast<u64>(ours.disp)) & mask) != 0)
    return "displacement";
  return "";
}

std::string compare_operand(const Insn& ours, unsigned which, const ZydisDecodedOperand& theirs) {
  Operand operand = x86::operand(ours, which);
  switch (operand.kind) {
    case OperandKind::None: return "operand missing";
    case OperandKind::Register:
      if (theirs.type != ZYDIS_OPERAND_TYPE_REGISTER) return "kind";
      return register_of(operand) == theirs.reg.value ? "" : "register";
    case OperandKind::Memory:
    case OperandKind::StringSource:
    case OperandKind::StringDest:
      if (theirs.type != ZYDIS_OPERAND_TYPE_MEMORY) return "kind";
      if (theirs.mem.type == ZYDIS_MEMOP_TYPE_MEM && operand.size != 0 &&
          theirs.size != operand.size * 8)
        return "memory size";
      return compare_memory(ours, operand, theirs);
    case OperandKind::Immediate: {
      if (theirs.type != ZYDIS_OPERAND_TYPE_IMMEDIATE) return "kind";
      bool extended = row_of(ours).operands[which].place == Place::ImmSigned;
      unsigned size = extended ? ours.operand_size : operand.size;
      u64 mask = size == 8 ? ~u64{0} : (u64{1} << size * 8) - 1;
      return ((immediate(ours, which) ^ theirs.imm.value.u) & mask) == 0 ? "" : "immediate";
    }
    case OperandKind::Relative:
      if (theirs.type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !theirs.imm.is_relative) return "kind";
      return ours.imm == theirs.imm.value.u ? "" : "relative";
    case OperandKind::FarPointer:
      if (theirs.type != ZYDIS_OPERAND_TYPE_POINTER) return "kind";
      return ours.imm == theirs.ptr.offset && ours.imm2 == theirs.ptr.segment ? "" : "far pointer";
  }
  return "";
}

std::string compare_access(const Operand& operand, const ZydisDecodedOperand& theirs) {
  bool read = (theirs.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
  bool written = (theirs.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
  bool memory = theirs.type == ZYDIS_OPERAND_TYPE_MEMORY;
  if (memory && theirs.mem.type != ZYDIS_MEMOP_TYPE_MEM && theirs.mem.type != ZYDIS_MEMOP_TYPE_VSIB)
    return "";
  if (operand.written != written) return memory ? "memory written" : "register written";
  // Zydis does not count a destination that keeps some of its bits as read.
  if (memory ? operand.read != read : read && !operand.read)
    return memory ? "memory read" : "register read";
  return "";
}

u8 our_flags(u64 eflags) {
  constexpr std::pair<u32, u8> kPairs[] = {
      {ZYDIS_CPUFLAG_CF, flag::kCf}, {ZYDIS_CPUFLAG_PF, flag::kPf}, {ZYDIS_CPUFLAG_AF, flag::kAf},
      {ZYDIS_CPUFLAG_ZF, flag::kZf}, {ZYDIS_CPUFLAG_SF, flag::kSf}, {ZYDIS_CPUFLAG_OF, flag::kOf},
      {ZYDIS_CPUFLAG_DF, flag::kDf}, {ZYDIS_CPUFLAG_IF, flag::kIf}};
  u8 result = 0;
  for (auto [theirs, ours] : kPairs)
    if ((eflags & theirs) != 0) result |= ours;
  return result;
}

std::string compare_flags(const Row& row, const ZydisDecodedInstruction& theirs) {
  ZydisAccessedFlags none = {};
  const ZydisAccessedFlags& flags = theirs.cpu_flags == nullptr ? none : *theirs.cpu_flags;
  auto differ = [](const char* what, u8 ours, u8 theirs) {
    return ours == theirs ? std::string{}
                          : format("flags {} {:08b}, theirs {:08b}", what, ours, theirs);
  };
  std::string what = differ("read", row.flags.read, our_flags(flags.tested));
  if (what.empty())
    what =
        differ("written", row.flags.written, our_flags(flags.modified | flags.set_0 | flags.set_1));
  if (what.empty()) what = differ("undefined", row.flags.undefined, our_flags(flags.undefined));
  if (!what.empty()) return what;
  return "";
}

// The instruction set Zydis files an instruction under, where that is one CPUID bit.
std::string compare_feature(const Insn& ours, const ZydisDecodedInstruction& theirs) {
  static const std::map<ZydisISASet, Feature> kFeatures = {
      {ZYDIS_ISA_SET_ADOX_ADCX, Feature::Adx},     {ZYDIS_ISA_SET_AES, Feature::Aes},
      {ZYDIS_ISA_SET_AVX, Feature::Avx},           {ZYDIS_ISA_SET_AVX2, Feature::Avx2},
      {ZYDIS_ISA_SET_AVX2GATHER, Feature::Avx2},   {ZYDIS_ISA_SET_AVXAES, Feature::Aes},
      {ZYDIS_ISA_SET_AVX_GFNI, Feature::Gfni},     {ZYDIS_ISA_SET_BMI1, Feature::Bmi1},
      {ZYDIS_ISA_SET_BMI2, Feature::Bmi2},         {ZYDIS_ISA_SET_CLFLUSHOPT, Feature::Clflushopt},
      {ZYDIS_ISA_SET_CLFSH, Feature::Clflush},     {ZYDIS_ISA_SET_CLWB, Feature::Clwb},
      {ZYDIS_ISA_SET_CLZERO, Feature::Clzero},     {ZYDIS_ISA_SET_CMOV, Feature::Cmov},
      {ZYDIS_ISA_SET_CMPXCHG16B, Feature::Cx16},   {ZYDIS_ISA_SET_F16C, Feature::F16c},
      {ZYDIS_ISA_SET_FCMOV, Feature::Cmov},        {ZYDIS_ISA_SET_FMA, Feature::Fma},
      {ZYDIS_ISA_SET_FXSAVE, Feature::Fxsr},       {ZYDIS_ISA_SET_FXSAVE64, Feature::Fxsr},
      {ZYDIS_ISA_SET_GFNI, Feature::Gfni},         {ZYDIS_ISA_SET_INVPCID, Feature::Invpcid},
      {ZYDIS_ISA_SET_LZCNT, Feature::Lzcnt},       {ZYDIS_ISA_SET_MONITOR, Feature::Monitor},
      {ZYDIS_ISA_SET_MONITORX, Feature::Monitorx}, {ZYDIS_ISA_SET_MOVBE, Feature::Movbe},
      {ZYDIS_ISA_SET_PCLMULQDQ, Feature::Pclmul},  {ZYDIS_ISA_SET_PKU, Feature::Pku},
      {ZYDIS_ISA_SET_POPCNT, Feature::Popcnt},     {ZYDIS_ISA_SET_RDPID, Feature::Rdpid},
      {ZYDIS_ISA_SET_RDPRU, Feature::Rdpru},       {ZYDIS_ISA_SET_RDRAND, Feature::Rdrand},
      {ZYDIS_ISA_SET_RDSEED, Feature::Rdseed},     {ZYDIS_ISA_SET_RDTSCP, Feature::Rdtscp},
      {ZYDIS_ISA_SET_RDWRFSGS, Feature::Fsgsbase}, {ZYDIS_ISA_SET_SHA, Feature::Sha},
      {ZYDIS_ISA_SET_SMAP, Feature::Smap},         {ZYDIS_ISA_SET_SSE, Feature::Sse},
      {ZYDIS_ISA_SET_SSE2, Feature::Sse2},         {ZYDIS_ISA_SET_SSE2MMX, Feature::Sse2},
      {ZYDIS_ISA_SET_SSE3, Feature::Sse3},         {ZYDIS_ISA_SET_SSE3X87, Feature::Sse3},
      {ZYDIS_ISA_SET_SSE4, Feature::Sse41},        {ZYDIS_ISA_SET_SSE42, Feature::Sse42},
      {ZYDIS_ISA_SET_SSE4A, Feature::Sse4a},       {ZYDIS_ISA_SET_SSEMXCSR, Feature::Sse},
      {ZYDIS_ISA_SET_SSSE3, Feature::Ssse3},       {ZYDIS_ISA_SET_SSSE3MMX, Feature::Ssse3},
      {ZYDIS_ISA_SET_VAES, Feature::Vaes},         {ZYDIS_ISA_SET_VPCLMULQDQ, Feature::Vpclmul},
      {ZYDIS_ISA_SET_X87, Feature::Fpu},           {ZYDIS_ISA_SET_XSAVE, Feature::Xsave},
      {ZYDIS_ISA_SET_XSAVEC, Feature::Xsavec},     {ZYDIS_ISA_SET_XSAVEOPT, Feature::Xsaveopt},
      {ZYDIS_ISA_SET_XSAVES, Feature::Xsaves}};
  auto found = kFeatures.find(theirs.meta.isa_set);
  if (found == kFeatures.end()) return "";
  FeatureSet needed = x86::needed(row_of(ours), ours.vector_size == 32);
  return needed.has(found->second)
             ? ""
             : format("feature {}", ZydisISASetGetString(theirs.meta.isa_set));
}

// Where we know better, each with its reason. "CPU" means that host_test.cpp or a probe asked a Zen 4.
const char* excuse_flags(const Insn& ours) {
  const Row& row = row_of(ours);
  switch (ours.mnemonic) {
    case Mnemonic::Sbb: return "Zydis forgets that OF is written";
    case Mnemonic::Bextr: return "Zydis forgets that CF and OF are cleared";
    case Mnemonic::Rdpru: return "Zydis forgets that CF is written, the others cleared";
    case Mnemonic::Vptest:
    case Mnemonic::Vtestps:
    case Mnemonic::Vtestpd: return "Zydis forgets that OF, SF, AF, PF are cleared";
    default: break;
  }
  if (row.control() == Control::Trap || row.control() == Control::System)
    return "flags follow from the event";
  if ((row.attributes & attr::kRepWhile) != 0)
    return "REPE reads ZF after the comparison has written it";
  if (row.operands[1].place == Place::One) return "Zydis takes D0 and D1 for a count other than 1";
  return nullptr;
}

const char* excuse_invalid(const Insn& ours, const Theirs& theirs) {
  switch (theirs.insn.mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
      return theirs.insn.opcode == 0x0D ? "0F 0D with a register: CPU" : nullptr;
    case ZYDIS_MNEMONIC_VPEXTRD:
    case ZYDIS_MNEMONIC_VPINSRD:
      return ours.mode != Mode::Bits64 ? "#UD with VEX.W outside 64-bit mode: CPU" : nullptr;
    default: return nullptr;
  }
}

const char* excuse(const Insn& ours, const Theirs& theirs, const std::string& what) {
  if (what.rfind("flags", 0) == 0) return excuse_flags(ours);
  if (ours.status != Status::Ok) return excuse_invalid(ours, theirs);
  bool wide = (ours.rex & 8) != 0;
  bool no_base = ours.has(seen::kSib) && ours.base == kNoRegister;
  if (what == "base" && no_base && ours.address_size == 4)
    return "Zydis takes REX.B 101 for r13d: CPU";
  Control control = row_of(ours).control();
  bool indirect = control == Control::CallIndirect || control == Control::JumpIndirect;
  if (indirect && ours.operand_size == 2 && ours.mode == Mode::Bits64)
    return "AMD honours 66 on near branches: CPU";
  switch (ours.mnemonic) {
    case Mnemonic::Ud0:
    case Mnemonic::Ud1: return "AMD takes no ModRM byte: CPU";
    case Mnemonic::Nop: return "operands of a hint NOP do not matter";
    case Mnemonic::Xchg:
      return ours.opcode == 0x90 && what == "mnemonic" ? "REX.B beats F3 in 90: CPU" : nullptr;
    case Mnemonic::Movsxd:
      return ours.operand_size == 2 ? "the source stays 32 bits wide: CPU" : nullptr;
    case Mnemonic::Vpermq:
    case Mnemonic::Vpermpd: return !wide ? "VEX.W is ignored: CPU" : nullptr;
    case Mnemonic::Wbnoinvd:
      return what == "mnemonic" ? "Zydis has no WBNOINVD outside its mode" : nullptr;
    case Mnemonic::Clzero: return what == "operand count" ? "rAX is implicit" : nullptr;
    case Mnemonic::Lfs:
    case Mnemonic::Lgs:
    case Mnemonic::Lss:
    case Mnemonic::CallFar:
    case Mnemonic::JmpFar:
      return wide && what == "memory size" ? "AMD has no m16:64: CPU" : nullptr;
    default: return nullptr;
  }
}

std::string compare(const Insn& ours, const Theirs& theirs) {
  bool valid = theirs.valid && !out_of_scope(theirs.insn);
  if ((ours.status == Status::Ok) != valid) return valid ? "should be valid" : "should be invalid";
  if (!valid) return "";
  const ZydisDecodedInstruction& insn = theirs.insn;
  if (ours.length != insn.length) return "length";
  if (our_name(ours) != their_name(theirs)) return "mnemonic";
  if (ours.address_size * 8 != insn.address_width) return "address size";
  // Zydis hides the operands of string instructions, ST0 and XMM0.
  unsigned count = 0;
  while (operand(ours, count).kind != OperandKind::None) ++count;
  if (count < insn.operand_count_visible || count > insn.operand_count) return "operand count";
  for (unsigned i = 0; i < count; ++i) {
    std::string what = compare_operand(ours, i, theirs.operands[i]);
    if (what.empty()) what = compare_access(operand(ours, i), theirs.operands[i]);
    if (!what.empty()) return what;
  }
  std::string what = compare_feature(ours, insn);
  return what.empty() ? compare_flags(row_of(ours), insn) : what;
}

class ZydisTest : public testing::TestWithParam<Mode> {
 protected:
  void check_code(const Code& code) {
    ++cases_;
    Insn ours = decoder_.decode(code);
    Theirs theirs = oracle_.decode(code);
    std::string what = compare(ours, theirs);
    if (what.empty() || excuse(ours, theirs, what) != nullptr) return;
    std::string key =
        what + ": " + (theirs.valid ? their_name(theirs) : print(ours, 0).substr(0, 12));
    Difference& difference = differences_[key];
    if (difference.count++ < 2) difference.examples += "\n    " + describe(code, ours, theirs);
  }

  void TearDown() override {
    for (const auto& [key, difference] : differences_)
      ADD_FAILURE() << key << " (" << difference.count << " times)" << difference.examples;
    RecordProperty("cases", static_cast<int>(cases_));
  }

  static std::string describe(const Code& code, const Insn& ours, const Theirs& theirs) {
    std::string bytes;
    for (unsigned i = 0; i < 15; ++i) bytes += format("{:02x} ", code[i]);
    std::string text = "(invalid)";
    if (theirs.valid) {
      char buffer[128];
      ZydisFormatter formatter;
      ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
      ZydisFormatterFormatInstruction(&formatter, &theirs.insn, theirs.operands,
                                      theirs.insn.operand_count_visible, buffer, sizeof buffer, 0,
                                      nullptr);
      text = format("[{}] {} ({})", theirs.insn.length, buffer,
                    ZydisISASetGetString(theirs.insn.meta.isa_set));
    }
    return format("{} ours: [{}] {}  theirs: {}", bytes, ours.length, print(ours, 0), text);
  }

  // Completes `head` by bytes derived from it and runs it.
  void check(std::vector<u8> head) {
    Code code = {};
    u64 seed = head.size();
    for (u8 byte : head) seed = scramble(seed ^ byte);
    for (unsigned i = 0; i < code.size(); ++i) {
      if (i % 8 == 0) seed = scramble(seed + 1);
      code[i] = i < head.size() ? head[i] : static_cast<u8>(seed >> i % 8 * 8);
    }
    check_code(code);
  }

  // True for one in `rate` heads, or always in an exhaustive run.
  bool sampled(unsigned rate) { return exhaustive() || scramble(++sample_) % rate == 0; }

  Mode mode() const { return GetParam(); }

 private:
  struct Difference {
    unsigned count = 0;
    std::string examples;
  };
  Oracle oracle_{GetParam()};
  Decoder decoder_{GetParam(), FeatureSet::all()};
  std::map<std::string, Difference> differences_;
  u64 cases_ = 0;
  u64 sample_ = 0;
};

using Prefix = std::vector<u8>;

const std::vector<Prefix>& legacy_prefixes(Mode mode) {
  static const std::vector<Prefix> kShort = {
      {},           {0x66},       {0xF3},       {0xF2},       {0x67},       {0xF0},
      {0x66, 0xF3}, {0xF2, 0x66}, {0xF3, 0xF2}, {0xF2, 0xF3}, {0xF0, 0x66}, {0xF0, 0xF3},
      {0xF0, 0xF2}, {0x2E},       {0x64},       {0x36, 0x67}, {0x66, 0x67}};
  static const std::vector<Prefix> kLong = [] {
    std::vector<Prefix> all = kShort;
    for (u8 rex : {0x40, 0x41, 0x42, 0x44, 0x48, 0x4F}) {
      all.push_back({rex});
      for (u8 before : {0x66, 0xF3, 0xF2, 0x67, 0xF0}) all.push_back({before, rex});
      all.push_back({0x66, 0xF3, rex});
      all.push_back({rex, 0x66});
    }
    return all;
  }();
  return mode == Mode::Bits64 ? kLong : kShort;
}

TEST_P(ZydisTest, LegacyMaps) {
  const std::vector<Prefix> maps = {{}, {0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}};
  for (const Prefix& prefix : legacy_prefixes(mode()))
    for (const Prefix& map : maps)
      for (unsigned opcode = 0; opcode < 256; ++opcode)
        for (unsigned modrm = 0; modrm < 256; ++modrm) {
          if (!sampled(16)) continue;
          std::vector<u8> head = prefix;
          head.insert(head.end(), map.begin(), map.end());
          head.push_back(static_cast<u8>(opcode));
          head.push_back(static_cast<u8>(modrm));
          check(head);
        }
}

TEST_P(ZydisTest, VexMaps) {
  // R, X, B set and clear (inverted: 0xE0 is none), vvvv none, 8 and 1.
  for (u8 rxb : {0xE0, 0x60, 0xC0, 0x00})
    for (u8 vvvv : {0x78, 0x38, 0x70})
      for (unsigned map = 1; map <= 3; ++map)
        for (unsigned low = 0; low < 8; ++low)
          for (u8 w : {0x00, 0x80})
            for (unsigned opcode = 0; opcode < 256; ++opcode)
              for (unsigned modrm = 0; modrm < 256; ++modrm)
                if (sampled(256))
                  check({0xC4, static_cast<u8>(rxb | map), static_cast<u8>(w | vvvv | low),
                         static_cast<u8>(opcode), static_cast<u8>(modrm)});
}

TEST_P(ZydisTest, ShortVex) {
  for (unsigned second = 0; second < 256; ++second)
    for (unsigned opcode = 0; opcode < 256; ++opcode)
      for (unsigned modrm = 0; modrm < 256; ++modrm)
        if (sampled(128))
          check({0xC5, static_cast<u8>(second), static_cast<u8>(opcode), static_cast<u8>(modrm)});
}

TEST_P(ZydisTest, VexAfterPrefixes) {
  for (const Prefix& prefix : legacy_prefixes(mode()))
    for (unsigned opcode = 0; opcode < 256; ++opcode)
      for (u8 second : {0xF8, 0xF9, 0xFC, 0x78}) {
        std::vector<u8> head = prefix;
        head.insert(head.end(), {0xC5, second, static_cast<u8>(opcode), 0x44});
        check(head);
        head[prefix.size()] = 0xC4;
        head[prefix.size() + 1] = 0xE0 | (opcode & 31);
        check(head);
      }
}

// Every addressing form: all ModRM and SIB bytes, under each REX, address size and segment.
TEST_P(ZydisTest, Addressing) {
  for (Prefix prefix : std::vector<Prefix>{{}, {0x67}, {0x64}, {0x3E}, {0x65, 0x67}})
    for (unsigned rex = 0x3F; rex < (mode() == Mode::Bits64 ? 0x50 : 0x40); ++rex)
      for (unsigned modrm = 0; modrm < 256; ++modrm)
        for (unsigned sib = 0; sib < 256; ++sib) {
          if (!sampled(8)) continue;
          std::vector<u8> head = prefix;
          if (rex >= 0x40) head.push_back(static_cast<u8>(rex));
          head.insert(head.end(), {0x8B, static_cast<u8>(modrm), static_cast<u8>(sib)});
          check(head);
        }
}

// Random bytes behind random prefixes.
TEST_P(ZydisTest, Soup) {
  constexpr u8 kPrefixes[] = {0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x26, 0x2E,
                              0x36, 0x3E, 0x64, 0x65, 0x48, 0x41, 0x0F};
  u64 cases = exhaustive() ? 100'000'000 : 200'000;
  for (u64 i = 0; i < cases; ++i) {
    u64 random = scramble(i + 0x5EED);
    std::vector<u8> head;
    for (unsigned n = random % 8; n > 0; --n) {
      random = scramble(random);
      head.push_back(kPrefixes[random % std::size(kPrefixes)]);
    }
    random = scramble(random);
    for (unsigned n = 0; n < 4; ++n) head.push_back(static_cast<u8>(random >> n * 8));
    check(head);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, ZydisTest,
                         testing::Values(Mode::Bits16, Mode::Bits32, Mode::Bits64),
                         [](const auto& info) {
                           return std::string(info.param == Mode::Bits16   ? "Bits16"
                                              : info.param == Mode::Bits32 ? "Bits32"
                                                                           : "Bits64");
                         });

}  // namespace
}  // namespace menura::jit::x86
