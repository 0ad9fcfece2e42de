// Lets this machine's CPU judge the decoder: lengths and validity of every opcode, size, kind and alignment of its memory
// operand. Runs where the host is an AMD CPU, whose choices the decoder follows.
#include <cpuid.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/format.h"
#include "jit/front/x86/host_cpu.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

namespace menura::jit::x86 {
namespace {

using Code = std::vector<u8>;
using host_cpu::Verdict;

// System calls and whatever disturbs the segments this process lives by.
bool dangerous(const Insn& insn) {
  if (insn.status != Status::Ok) return false;
  switch (insn.mnemonic) {
    case Mnemonic::Int:
    case Mnemonic::Syscall:
    case Mnemonic::Sysenter:
    case Mnemonic::Sysexit:
    case Mnemonic::Wrfsbase:
    case Mnemonic::Wrgsbase:
    case Mnemonic::Lds:
    case Mnemonic::Les:
    case Mnemonic::Lfs:
    case Mnemonic::Lgs:
    case Mnemonic::Wrpkru: return true;
    default: break;
  }
  Operand first = operand(insn, 0);
  return first.cls == RegClass::Segment && first.written;
}

// Where the CPU's verdict does not speak about decoding, or menura does not offer what the host has.
bool excused(const Insn& insn, const Code& code) {
  switch (insn.mnemonic) {
    case Mnemonic::Ud0:
    case Mnemonic::Ud1:
    case Mnemonic::Ud2:
    case Mnemonic::Rsm: return true;  // #UD is what they do
    case Mnemonic::Clac:
    case Mnemonic::Stac: return true;  // #UD outside CPL 0
    case Mnemonic::Mov:
      return insn.has(seen::kLock);  // LOCK MOV CR0 is CR8: AltMovCr8, not offered
    case Mnemonic::Verw:
      return insn.has(seen::kLock);  // Zen 4 accepts LOCK VERW with a memory operand
    default: break;
  }
  std::size_t at = code[0] == 0x0F ? 0 : 1;
  bool group = code[at] == 0x0F && code[at + 1] == 0x01;
  // VMCALL is not AMD's; KVM emulates it, whatever its prefixes.
  if (group && code[at + 2] == 0xC1) return true;
  // SVM, MCOMMIT and INVLPGB; MONITORX, which hypervisors hide but cannot take away.
  return group && ((code[at + 2] >= 0xD8 && code[at + 2] <= 0xDF) || code[at + 2] >= 0xFA);
}

CpuidRegisters host_cpuid(u32 leaf, u32 subleaf) {
  CpuidRegisters regs;
  if (__get_cpuid_count(leaf, subleaf, &regs.eax, &regs.ebx, &regs.ecx, &regs.edx) == 0) return {};
  return regs;
}

bool host_is_amd() {
  constexpr u32 kAuth = 0x68747541;
  return host_cpuid(0, 0).ebx == kAuth;
}

std::string hex(const Code& code) {
  std::string text;
  for (u8 byte : code) text += format("{:02x} ", byte);
  return text;
}

// Encodings to try: every opcode with memory at [rBX] and with register operands, under the prefixes that matter.
class Encodings {
 public:
  template <class Visit>
  static void each_legacy(const std::vector<Code>& prefixes, Visit visit) {
    const std::vector<Code> maps = {{}, {0x0F}, {0x0F, 0x38}, {0x0F, 0x3A}};
    for (const Code& prefix : prefixes)
      for (const Code& map : maps)
        for (unsigned opcode = 0; opcode < 256; ++opcode)
          for (unsigned modrm = 0; modrm < 256; ++modrm) {
            if (!wanted(map, opcode, modrm)) continue;
            Code code = prefix;
            code.insert(code.end(), map.begin(), map.end());
            code.push_back(static_cast<u8>(opcode));
            code.push_back(static_cast<u8>(modrm));
            visit(code);
          }
  }

  template <class Visit>
  static void each_vex(Visit visit) {
    for (unsigned map = 1; map <= 3; ++map)
      for (unsigned opcode = 0; opcode < 256; ++opcode) {
        if (is_mask_register_opcode(map, opcode)) continue;
        bool group = opcode == 0xAE || opcode == 0xF3 || (opcode >= 0x71 && opcode <= 0x73);
        for (u8 vvvv : {0x78, 0x30})
          for (unsigned low = 0; low < 16; ++low)
            for (unsigned reg = 0; reg < 8; reg += group ? 1 : 8)
              for (unsigned modrm : {0x03u, 0xC3u})
                visit({0xC4, static_cast<u8>(0xE0 | map),
                       static_cast<u8>((low & 8) << 4 | vvvv | (low & 7)), static_cast<u8>(opcode),
                       static_cast<u8>(modrm | reg << 3)});
      }
  }

 private:
  static bool wanted(const Code& map, unsigned opcode, unsigned modrm) {
    // x87 and group 0F 01 are told apart by the whole byte, others by mod and reg.
    bool whole = (map.empty() && (opcode & 0xF8) == 0xD8) || (map.size() == 1 && opcode == 0x01);
    bool memory = modrm < 0x40 && (modrm & 7) == 3;
    return memory || (modrm >= 0xC0 && (whole || (modrm & 7) == 3));
  }
  // AVX-512's, which the host may have.
  static bool is_mask_register_opcode(unsigned map, unsigned opcode) {
    if (map == 1) return (opcode >= 0x41 && opcode <= 0x4B) || (opcode >= 0x90 && opcode <= 0x99);
    return map == 3 && opcode >= 0x30 && opcode <= 0x33;
  }
};

class Report {
 public:
  explicit Report(bool compatibility) : compatibility_(compatibility) {}
  bool compatibility() const { return compatibility_; }
  Insn decode(Code& code) const {
    code.resize(32);
    return decoder_.decode(code);
  }
  void add(const Code& code, const Insn& insn, const char* what) {
    if (++count_ > 100) return;
    text_ += format("{}: {} [{}]: {}\n", hex({code.begin(), code.begin() + kMaxLength}),
                    print(insn, 0), insn.length, what);
  }
  std::string text() const { return count_ > 100 ? text_ + format("{} in all\n", count_) : text_; }

 private:
  bool compatibility_;
  Decoder decoder_{compatibility_ ? Mode::Bits32 : Mode::Bits64, features_of(host_cpuid)};
  unsigned count_ = 0;
  std::string text_;
};

// A valid instruction is accepted when complete and not a byte earlier; zeros follow `code`.
void check_length(Report& report, Code code) {
  Insn insn = report.decode(code);
  if (dangerous(insn) || excused(insn, code)) return;
  auto run = [&](unsigned length) {
    return host_cpu::run({.code = code, .length = length, .compatibility = report.compatibility()});
  };
  if (insn.status != Status::Ok) {
    if (run(kMaxLength).trap != host_cpu::kInvalidOpcode)
      report.add(code, insn, "the CPU knows it");
    return;
  }
  Verdict whole = run(insn.length);
  if (whole.trap == host_cpu::kInvalidOpcode) report.add(code, insn, "#UD");
  if (whole.wants_more) report.add(code, insn, "longer");
  if (insn.length > 1 && !run(insn.length - 1u).wants_more) report.add(code, insn, "shorter");
}

// Not told by the memory operand alone.
bool memory_is_special(const Row& row) {
  constexpr u32 kSpecial = attr::kCpl0 | attr::kUmip | attr::kMasked | attr::kBitString;
  return (row.attributes & kSpecial) != 0 ||
         row.mnemonic == Mnemonic::Arpl;  // ARPL writes on demand
}

// The memory operand is as large as decoded, accessed as decoded and aligned as decoded.
void check_memory(Report& report, Code code) {
  Insn insn = report.decode(code);
  if (insn.status != Status::Ok || !insn.is_memory() || dangerous(insn) || excused(insn, code))
    return;
  constexpr u8 kRbx = 3;
  if (insn.base != kRbx || insn.address_size == 2) return;  // the "opcode" was a prefix
  const Row& row = row_of(insn);
  unsigned size = 0;
  for (unsigned i = 0; i < kMaxOperands; ++i)
    if (Operand here = operand(insn, i); here.kind == OperandKind::Memory) size = here.size;
  MemoryUse use = memory_use(row);
  bool accesses = use != MemoryUse::AddressOnly && use != MemoryUse::None;
  if (memory_is_special(row) || (size == 0 && accesses)) return;
  auto run = [&](unsigned room) {
    return host_cpu::run({.code = code,
                          .length = insn.length,
                          .compatibility = report.compatibility(),
                          .room = room});
  };
  if (!accesses) {
    if (run(0).data_fault) report.add(code, insn, "accesses memory");
    return;
  }
  bool aligned = alignment(row, size) != 1;
  if (run(size).data_fault) report.add(code, insn, "accesses more");
  Verdict beyond = run(aligned ? 0 : size - 1);
  bool writes = use == MemoryUse::Store || use == MemoryUse::Modify;
  if (!beyond.data_fault)
    report.add(code, insn, "accesses less");
  else if (((beyond.error & host_cpu::kWriteAccess) != 0) != writes)
    report.add(code, insn, writes ? "only reads" : "writes");
  constexpr u64 kProtection = 13;
  if (size >= 16 && (run(size + 1).trap == kProtection) != aligned)
    report.add(code, insn, aligned ? "may be misaligned" : "must be aligned");
}

std::string lengths(bool compatibility) {
  Report report(compatibility);
  auto visit = [&](Code code) { check_length(report, std::move(code)); };
  Encodings::each_legacy({{}, {0x66}, {0xF3}, {0xF2}, {0xF0}}, visit);
  Encodings::each_vex(visit);
  return report.text();
}

std::string memory(bool compatibility) {
  Report report(compatibility);
  auto visit = [&](Code code) { check_memory(report, std::move(code)); };
  std::vector<Code> prefixes = {{}, {0x66}, {0xF3}, {0xF2}};
  if (!compatibility) prefixes.push_back({0x48});
  Encodings::each_legacy(prefixes, visit);
  Encodings::each_vex(visit);
  return report.text();
}

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!host_is_amd()) GTEST_SKIP() << "the decoder follows AMD CPUs; this host has another";
  }
};

TEST_F(HostTest, LengthsInLongMode) {
  EXPECT_EQ(host_cpu::in_child([] { return lengths(false); }), "");
}
TEST_F(HostTest, LengthsInCompatibilityMode) {
  EXPECT_EQ(host_cpu::in_child([] { return lengths(true); }), "");
}
TEST_F(HostTest, MemoryInLongMode) {
  EXPECT_EQ(host_cpu::in_child([] { return memory(false); }), "");
}
TEST_F(HostTest, MemoryInCompatibilityMode) {
  EXPECT_EQ(host_cpu::in_child([] { return memory(true); }), "");
}

}  // namespace
}  // namespace menura::jit::x86
