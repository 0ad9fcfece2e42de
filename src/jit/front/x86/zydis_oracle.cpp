#include "jit/front/x86/zydis_oracle.h"

#include <map>

#include "base/format.h"
#include "jit/front/x86/print.h"

namespace menura::jit::x86 {

Oracle::Oracle(Mode mode) {
  if (mode == Mode::Bits64)
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  if (mode == Mode::Bits32)
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
  if (mode == Mode::Bits16)
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
  ZydisDecoderEnableMode(&decoder_, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
  for (ZydisDecoderMode off : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CLDEMOTE})
    ZydisDecoderEnableMode(&decoder_, off, ZYAN_FALSE);
}

Theirs Oracle::decode(const Code& code) const {
  Theirs result;
  result.valid = ZYAN_SUCCESS(
      ZydisDecoderDecodeFull(&decoder_, code.data(), code.size(), &result.insn, result.operands));
  return result;
}

namespace {

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

}  // namespace

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

namespace {

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

}  // namespace

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
    case Mnemonic::Lgdt:
      return what == "privileged" ? "Zydis forgets that LGDT is privileged" : nullptr;
    case Mnemonic::Xlat:
    case Mnemonic::Maskmovq:
    case Mnemonic::Maskmovdqu:
    case Mnemonic::Vmaskmovdqu: return "Zydis shows rBX, AL and rDI as a hidden memory operand";
    case Mnemonic::Mwaitx: return "Zydis forgets the timeout in EBX";
    case Mnemonic::Wbnoinvd:
      return what == "mnemonic" ? "Zydis has no WBNOINVD outside its mode" : nullptr;
    case Mnemonic::Clzero: return what == "operand count" ? "rAX is implicit" : nullptr;
    case Mnemonic::Clflush:
    case Mnemonic::Clflushopt:
    case Mnemonic::Clwb:
      return what == "memory size" ? "Zydis counts the line, the access check is one byte's: CPU"
                                   : nullptr;
    case Mnemonic::Lfs:
    case Mnemonic::Lgs:
    case Mnemonic::Lss:
    case Mnemonic::CallFar:
    case Mnemonic::JmpFar:
      return wide && what == "memory size" ? "AMD has no m16:64: CPU" : nullptr;
    default: return nullptr;
  }
}

namespace {

// Low general registers that no operand of ours names, as masks.
std::string compare_implicit(const Insn& ours, const Theirs& theirs) {
  const Row& row = row_of(ours);
  Implicit found;
  for (unsigned i = theirs.insn.operand_count_visible; i < theirs.insn.operand_count; ++i) {
    const ZydisDecodedOperand& operand = theirs.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    ZydisRegister whole =
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
    if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64) continue;
    unsigned number = static_cast<unsigned>(ZydisRegisterGetId(whole));
    if (number == 4 || number >= 8) continue;
    u8 bit = static_cast<u8>(1u << number);
    if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0) found.read |= bit;
    if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) found.written |= bit;
  }
  if ((row.attributes & attr::kString) != 0) return "";  // rCX and the pointers by REP and operands
  if (found.read != row.implicit.read)
    return format("implicit read {:02x}, theirs {:02x}", row.implicit.read, found.read);
  if (found.written != row.implicit.written)
    return format("implicit written {:02x}, theirs {:02x}", row.implicit.written, found.written);
  return "";
}

std::string compare_attributes(const Insn& ours, const Theirs& theirs) {
  const Row& row = row_of(ours);
  auto differ = [&](const char* what, u32 attribute, u64 their_attribute) {
    bool here = (row.attributes & attribute) != 0;
    bool there = (theirs.insn.attributes & their_attribute) != 0;
    return here == there ? "" : what;
  };
  std::string what = differ("privileged", attr::kCpl0, ZYDIS_ATTRIB_IS_PRIVILEGED);
  if (what.empty() && ours.is_memory())
    what = differ("lock", attr::kLock, ZYDIS_ATTRIB_ACCEPTS_LOCK);
  if (what.empty()) what = differ("rep", attr::kRep, ZYDIS_ATTRIB_ACCEPTS_REP);
  if (what.empty()) what = differ("repe", attr::kRepWhile, ZYDIS_ATTRIB_ACCEPTS_REPE);
  if (!what.empty()) return what;
  return compare_implicit(ours, theirs);
}

}  // namespace

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
  if (what.empty()) what = compare_attributes(ours, theirs);
  return what.empty() ? compare_flags(row_of(ours), insn) : what;
}

}  // namespace menura::jit::x86
