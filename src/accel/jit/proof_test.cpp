// Every decoder row, in random encodings and states, against the host's CPU: registers, defined
// flags, x87, MXCSR, vectors, memory, and any exception with its vector, error code, CR2 and the state
// it leaves. Operands lie in pages that are writable, read-only or absent, and across their edges.
// Seeds are fixed; MENURA_PROOF_CASES (per row and mode) and MENURA_PROOF_SEED ask for more, and
// MENURA_PROOF_ROW for one row.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <random>

#include "accel/jit/proof_machine.h"
#include "jit/front/x86/print.h"
#include "jit/front/x86/sample.h"

namespace menura::engine {
namespace {

using namespace jit::x86;
using namespace proof;
namespace g86 = menura::x86;

u64 setting(const char* name, u64 otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// What a process may not try, or what tells the two machines apart by design.
bool excluded(const Insn& insn) {
  switch (insn.mnemonic) {
    case Mnemonic::Syscall:  // Linux' own
    case Mnemonic::Sysenter:
    case Mnemonic::Cpuid:  // another CPU
    case Mnemonic::Rdtsc:
    case Mnemonic::Rdtscp:
    case Mnemonic::Rdpmc:
    case Mnemonic::Rdpid:
    case Mnemonic::Rdpru:
    case Mnemonic::Rdrand:
    case Mnemonic::Rdseed:
    case Mnemonic::Xgetbv:  // another XCR0
    case Mnemonic::Xsave:
    case Mnemonic::Xsave64:
    case Mnemonic::Xsavec:
    case Mnemonic::Xsavec64:
    case Mnemonic::Xsaveopt:
    case Mnemonic::Xsaveopt64:
    case Mnemonic::Xsaves:
    case Mnemonic::Xsaves64:
    case Mnemonic::Xrstor:
    case Mnemonic::Xrstor64:
    case Mnemonic::Xrstors:
    case Mnemonic::Xrstors64:
    case Mnemonic::Fxsave:  // FIP and FDP, which we do not follow
    case Mnemonic::Fxsave64:
    case Mnemonic::Fnstenv:
    case Mnemonic::Fnsave:
    case Mnemonic::Rdpkru:
    case Mnemonic::Wrpkru:
    case Mnemonic::Vmcall:  // answered by the host's own host
    case Mnemonic::Vmmcall:
    case Mnemonic::Monitorx:
    case Mnemonic::Mwaitx:
    case Mnemonic::Clzero:
    case Mnemonic::Rdfsbase:  // this process' thread pointer
    case Mnemonic::Wrfsbase:
    case Mnemonic::Rdgsbase:
    case Mnemonic::Wrgsbase:
    case Mnemonic::JmpFar:  // other descriptor tables
    case Mnemonic::CallFar:
    case Mnemonic::RetFar:
    case Mnemonic::Iret:
    case Mnemonic::Int1:  // a hypervisor may make a fault of it
    case Mnemonic::Lar:
    case Mnemonic::Lsl:
    case Mnemonic::Verr:
    case Mnemonic::Verw:
    case Mnemonic::Lds:
    case Mnemonic::Les:
    case Mnemonic::Lss:
    case Mnemonic::Lfs:
    case Mnemonic::Lgs:
    case Mnemonic::Sgdt:  // Linux carries them out
    case Mnemonic::Sidt:
    case Mnemonic::Sldt:
    case Mnemonic::Str:
    case Mnemonic::Smsw: return true;
    case Mnemonic::Loope:  // the prefixes are reserved, and AMD's CPUs take them for conditions
    case Mnemonic::Loopne: return insn.has(seen::kRep | seen::kRepne);
    case Mnemonic::Int: return (insn.imm & 0xff) == 0x80;
    case Mnemonic::Mov:
    case Mnemonic::Push:
    case Mnemonic::Pop:
      for (unsigned i = 0; i < 2; i++)
        if (const Operand o = operand(insn, i);
            o.kind == OperandKind::Register && o.cls == RegClass::Segment && o.written)
          return true;
      return false;
    default: return false;
  }
}

u64 flag_bits(u8 flags) {
  constexpr u64 kBits[] = {g86::kCf, g86::kPf, g86::kAf, g86::kZf, g86::kSf, g86::kOf};
  u64 mask = 0;
  for (unsigned i = 0; i < 6; i++)
    if (flags >> i & 1) mask |= kBits[i];
  return mask;
}

struct Case {
  Insn insn;
  std::vector<u8> code;
  u64 offset = 0;  // of the code in its pages
  CpuRegisters start;
  bool bits32 = false;
  unsigned image = 0;
};

class Generator {
 public:
  explicit Generator(u64 seed) : random_(seed), sample_state_(seed * 77 + 1) {
    for (std::vector<u8>& image : images_) {
      image.resize(kDataSize);
      for (size_t i = 0; i < kDataSize; i += 8) {
        const u64 v = interesting();
        std::memcpy(image.data() + i, &v, 8);
      }
    }
  }

  const std::vector<u8>& image(unsigned number) const { return images_[number]; }

  // False: this attempt came to nothing.
  bool make(unsigned row, bool bits32, Case& c) {
    const Mode mode = bits32 ? Mode::Bits32 : Mode::Bits64;
    const Sample s = sample(row, mode, sample_state_);
    if (s.length == 0) return false;
    c.bits32 = bits32;
    c.code.assign(s.bytes.begin(), s.bytes.begin() + s.length);
    c.insn = Decoder{mode, FeatureSet::all()}.decode(c.code);
    if (excluded(c.insn) || !segments_possible(c) || loops(c.insn)) return false;
    c.offset = place_of(c.code.size());
    c.image = static_cast<unsigned>(random_() % images_.size());
    c.start = registers(bits32);
    c.start.rip = kCode + c.offset;
    for (const g86::Gpr r : {g86::Rsp, g86::Rbp, g86::Rsi, g86::Rdi, g86::Rbx})
      if (chance(85)) c.start.gpr[r] = target(16, bits32);
    if (c.insn.has(seen::kRep | seen::kRepne) && chance(95)) c.start.gpr[g86::Rcx] = random_() % 40;
    if (c.insn.is_memory()) aim(c);
    if (bits32)
      for (unsigned r = 0; r < 16; r++) c.start.gpr[r] = r < 8 ? c.start.gpr[r] & 0xffff'ffff : 0;
    return true;
  }

 private:
  bool chance(unsigned percent) { return random_() % 100 < percent; }

  // Back into itself, perhaps for ever.
  static bool loops(const Insn& insn) {
    if (operand(insn, 0).kind != OperandKind::Relative) return false;
    const i64 by = static_cast<i64>(insn.imm);
    return by < 0 && by >= -static_cast<i64>(kMaxLength);
  }

  static bool segments_possible(const Case& c) {
    const bool override =
        c.insn.segment == jit::x86::Segment::Fs || c.insn.segment == jit::x86::Segment::Gs;
    // What cannot be aimed might hit this thread's own data.
    const bool bit_string = row_of(c.insn).attributes & attr::kBitString;
    const bool aimed = c.insn.base != kNoRegister && c.insn.base != c.insn.index &&
                       !(bit_string && c.insn.base == c.insn.reg);
    return !override || (!c.bits32 && c.insn.address_size == 8 && aimed);
  }

  u64 place_of(size_t length) {
    if (chance(80)) return 64 * (random_() % 60);
    const u64 edge = chance(50) ? 4096 : kCodeSize;  // into the next page, or into none
    return edge - 1 - random_() % length;
  }

  u64 interesting() {
    constexpr u64 kEdges[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff'ffff,
                              0x8000'0000, 0xffff'ffff, 0x7fff'ffff'ffff'ffff,
                              0x8000'0000'0000'0000, ~u64{0},
                              // Floating point: infinities, NaNs, denormals, 1.0, of both sizes.
                              0x7f80'0000'7f80'0000, 0x7ff0'0000'0000'0000, 0x7ff8'0000'0000'0001,
                              0x7ff0'0000'0000'0001, 0x7f80'0001'ffc0'0000, 0x0000'0000'0000'0003,
                              0x0010'0000'0000'0000, 0x3ff0'0000'0000'0000, 0x3f80'0000'bf80'0000};
    switch (random_() % 4) {
      case 0: return kEdges[random_() % std::size(kEdges)];
      case 1: return random_() % 100;
      default: return random_();
    }
  }

  // An address to use `size` bytes at.
  u64 target(unsigned size, bool bits32) {
    const unsigned kind = static_cast<unsigned>(random_() % 100);
    if (kind < 50) {
      const u64 at = kData + 256 + random_() % 7000;
      return chance(75) ? at & ~u64{31} : at;
    }
    if (kind < 97 || bits32 || !std::has_single_bit(size)) {
      // Across an edge, or next to it.
      const u64 edge = kData + 4096 * (1 + random_() % 5);
      return edge - random_() % (size + 9) + (chance(20) ? 8 : 0);
    }
    return 0x7fff'ffff'ffff - random_() % size + (chance(50) ? 1 : 0);
  }

  CpuRegisters registers(bool bits32) {
    CpuRegisters r;
    for (u64& g : r.gpr) g = interesting();
    // An address made of these shall not be anybody's in this process.
    if (!bits32)
      for (u64& g : r.gpr)
        if (chance(30)) g = target(8, false);
    r.rflags = 0x202 | (random_() & g86::kArithmeticFlags) | (chance(15) ? u64{g86::kDf} : 0);
    if (chance(8)) r.rflags |= g86::kTf;  // a step, and the trap behind it
    if (chance(30)) r.fcw = static_cast<u16>((random_() & 0xf7f) | 0x40);
    r.fsw = static_cast<u16>(random_() & (chance(30) ? 0x7f7f : 0x7f00));
    if (r.fsw & ~r.fcw & 0x3f) r.fsw |= 0x8080;  // ES and B follow from the two
    r.ftw = chance(30) ? 0xff : static_cast<u8>(random_());
    for (auto& st : r.st) {
      long double value = static_cast<long double>(static_cast<i64>(interesting())) / 64;
      std::memcpy(st.data(), &value, 10);
      if (chance(30)) {  // infinities, NaNs, denormals, and what has no meaning
        const u64 mantissa = interesting();
        const u16 exponent = chance(50) ? 0x7fff : static_cast<u16>(random_() % 2);
        std::memcpy(st.data(), &mantissa, 8);
        std::memcpy(st.data() + 8, &exponent, 2);
      }
    }
    if (chance(20)) r.mxcsr = static_cast<u32>(random_() & 0xffff);
    r.mxcsr &= ~0x2'0000u;
    for (auto& y : r.ymm)
      for (u64& q : y) q = interesting();
    return r;
  }

  // Makes the memory operand lie somewhere that matters.
  void aim(Case& c) {
    const Insn& insn = c.insn;
    if (insn.has(seen::kVsib)) return aim_gather(c);
    if (row_of(insn).attributes & attr::kBitString) {
      c.start.gpr[insn.reg] &= 0x3ff;
      if (chance(30)) c.start.gpr[insn.reg] = ~c.start.gpr[insn.reg];
    }
    const unsigned size = memory_size(insn);
    u64 at = target(size ? size : 16, c.bits32);
    const bool fs = !c.bits32 && insn.segment == jit::x86::Segment::Fs;
    if (fs) at -= thread_pointer();
    if (insn.base == kNoRegister) return aim_displacement(c, at);
    u64 sum = static_cast<u64>(insn.disp);
    if (insn.index != kNoRegister && insn.index != insn.base) {
      if (insn.index != g86::Rsp) c.start.gpr[insn.index] &= 0xff;
      sum += c.start.gpr[insn.index] << insn.scale;
    }
    c.start.gpr[insn.base] = at - sum;
  }

  void aim_displacement(Case& c, u64 at) {
    const Insn& insn = c.insn;
    const bool moffs = insn.modrm_at == 0;
    const size_t field =
        moffs ? insn.opcode_at + 1 : insn.modrm_at + (insn.has(seen::kSib) ? 2 : 1);
    const unsigned bytes = moffs ? insn.address_size : insn.address_size == 2 ? 2 : 4;
    if (insn.index != kNoRegister) {
      c.start.gpr[insn.index] &= 0xff;
      at -= c.start.gpr[insn.index] << insn.scale;
    }
    if (insn.has(seen::kRipRelative)) at -= c.start.rip + insn.length;
    std::memcpy(c.code.data() + field, &at, bytes);
    c.insn = Decoder{insn.mode, FeatureSet::all()}.decode(c.code);
  }

  // All elements near each other; faults only where the first element has one.
  void aim_gather(Case& c) {
    const Insn& insn = c.insn;
    const unsigned size = insn.vector_size == 32 ? 8 : 4;
    for (u64& q : c.start.ymm[insn.index]) q = 0;
    (void)size;
    const u64 at = chance(80) ? kData + 512 + random_() % 2048 : kData + 2 * 4096 + 100;
    const u64 disp = static_cast<u64>(insn.disp);
    if (insn.base != kNoRegister) c.start.gpr[insn.base] = at - disp;
  }

  std::mt19937_64 random_;
  u64 sample_state_;
  std::array<std::vector<u8>, 8> images_;
};

std::string hex(std::span<const u8> bytes) {
  std::string s;
  for (const u8 b : bytes) s += format("{:02x} ", b);
  return s;
}

// What the two may differ in.
struct Excuse {
  u64 flags = 0;
  bool bits32 = false;
  u64 cr2 = ~u64{0};  // the bits of it that count
};

// Which of several bytes CR2 names is the CPU's choice.
u64 cr2_mask(const Insn& insn) {
  switch (insn.mnemonic) {
    case Mnemonic::Fldenv:
    case Mnemonic::Frstor: return ~u64{4095};
    case Mnemonic::Maskmovdqu:
    case Mnemonic::Vmaskmovdqu:
    case Mnemonic::Maskmovq:
    case Mnemonic::Fxrstor:
    case Mnemonic::Fxrstor64:
      return 0;  // perhaps on the other page, or the other side of address 0
    default: return ~u64{0};
  }
}

// What the manuals leave to the CPU, or decision 004 gives up.
bool forgiven(const Case& c, bool translated, const NativeOutcome& host,
              const NativeOutcome& guest) {
  const bool faulted = host.vector != g86::kBp;
  switch (c.insn.mnemonic) {
    // AMD's CPUs have turned to MMX when this one faults.
    case Mnemonic::Maskmovq: return faulted;
    // AMD's CPUs look at masked bytes, too.
    case Mnemonic::Maskmovdqu:
    case Mnemonic::Vmaskmovdqu: return faulted;
    // AMD's CPUs keep what they had popped; ESP is as before, so it can be done again.
    case Mnemonic::Popa: return faulted;
    // Which operand is looked at first.
    case Mnemonic::Cmps: return faulted && guest.vector != g86::kBp;
    // A translated transfer to a non-canonical address faults there, not at the transfer.
    case Mnemonic::Call:
    case Mnemonic::Jmp:
    case Mnemonic::Ret: return translated && host.vector == g86::kGp && guest.vector == g86::kGp;
    default: return false;
  }
}

std::string difference(const NativeOutcome& host, const NativeOutcome& guest, const Excuse& e) {
  const CpuRegisters &h = host.registers, &g = guest.registers;
  if (host.vector != guest.vector)
    return format("vector {} (error {:#x}, rip {:#x}), host {} (error {:#x}, rip {:#x}, cr2 {:#x})",
                  guest.vector, guest.error_code, g.rip, host.vector, host.error_code, h.rip,
                  host.cr2);
  if (h.rip != g.rip) return format("rip {:#x}, host {:#x}", g.rip, h.rip);
  for (unsigned i = 0; i < (e.bits32 ? 8u : 16u); i++)
    if ((h.gpr[i] ^ g.gpr[i]) & (e.bits32 ? 0xffff'ffff : ~u64{0}))
      return format("r{}: {:#x}, host {:#x}", i, g.gpr[i], h.gpr[i]);
  constexpr u64 kFlags = g86::kArithmeticFlags | g86::kDf | g86::kTf | g86::kNt | g86::kAc |
                         g86::kId | g86::kRf | g86::kIopl;
  if ((h.rflags ^ g.rflags) & kFlags & ~e.flags)
    return format("flags: {:#x}, host {:#x}", g.rflags, h.rflags);
  if (host.vector == g86::kPfault) {
    // Linux does not tell whether pages are there that a process cannot have.
    const u32 hidden = host.cr2 >= 0x7fff'ffff'f000 ? 1 : 0;
    if ((host.cr2 ^ guest.cr2) & e.cr2 || (host.error_code | hidden) != (guest.error_code | hidden))
      return format("#PF {:#x} at {:#x}, host {:#x} at {:#x}", guest.error_code, guest.cr2,
                    host.error_code, host.cr2);
  } else if (host.error_code != guest.error_code) {
    return format("error code {:#x}, host {:#x}", guest.error_code, host.error_code);
  }
  if (h.mxcsr != g.mxcsr) return format("mxcsr {:#x}, host {:#x}", g.mxcsr, h.mxcsr);
  if (h.fcw != g.fcw || h.fsw != g.fsw || h.ftw != g.ftw)
    return format("x87 {:#x} {:#x} {:#x}, host {:#x} {:#x} {:#x}", g.fcw, g.fsw, g.ftw, h.fcw,
                  h.fsw, h.ftw);
  for (unsigned i = 0; i < 8; i++)
    if (h.st[i] != g.st[i]) return format("st({}): {}, host {}", i, hex(g.st[i]), hex(h.st[i]));
  for (unsigned i = 0; i < (e.bits32 ? 8u : 16u); i++)
    if (h.ymm[i] != g.ymm[i])
      return format("ymm{}: {:#x} {:#x}, host {:#x} {:#x}", i, g.ymm[i][1], g.ymm[i][0],
                    h.ymm[i][1], h.ymm[i][0]);
  return "";
}

std::string describe(const Case& c) {
  const std::array<u64, 16>& r = c.start.gpr;
  return format(
      "row {} {}  [{}] at +{:#x}{} from flags {:#x} rax {:#x} rcx {:#x} rsp {:#x} rsi {:#x} rdi "
      "{:#x}",
      c.insn.row, print(c.insn, kCode + c.offset), hex(c.code), c.offset,
      c.bits32 ? " (32-bit)" : "", c.start.rflags, r[g86::Rax], r[g86::Rcx], r[g86::Rsp],
      r[g86::Rsi], r[g86::Rdi]);
}

// The difference, or nothing.
std::string compare(ProofMachine& m, NativeCpu& cpu, const Generator& g, const Case& c,
                    bool translated, u8* ended = nullptr) {
  m.place(std::span(c.code).first(std::min<size_t>(c.code.size(), kCodeSize - c.offset)), c.offset);
  m.fill(g.image(c.image));
  const NativeOutcome host = m.run_native(cpu, c.start, c.bits32);
  const NativeOutcome guest = m.run_guest(c.start, c.bits32);
  if (ended) *ended = host.vector;
  const Row& row = row_of(c.insn);
  Excuse excuse{
      .flags = flag_bits(row.flags.undefined), .bits32 = c.bits32, .cr2 = cr2_mask(c.insn)};
  const bool ran = host.vector == g86::kBp && host.registers.rip != c.start.rip;
  // docs/decisions/004: a block may lose flags that its instruction was about to overwrite.
  if (translated && !ran) excuse.flags |= flag_bits(row.flags.written);
  if (forgiven(c, translated, host, guest)) return "";
  std::string text = difference(host, guest, excuse);
  if (text.empty() && std::memcmp(m.native_data().data(), m.guest_data().data(), kDataSize) != 0) {
    const auto at = std::ranges::mismatch(m.native_data(), m.guest_data());
    const u64 offset = static_cast<u64>(at.in1 - m.native_data().begin());
    text = format("memory at {:#x}: {:#x}, host {:#x}", kData + offset, *at.in2, *at.in1);
  }
  return text.empty() ? text : describe(c) + ": " + text;
}

void prove(unsigned block_limit, bool bits32, u64 cases) {
  ProofMachine m({.code_size = 16 << 20, .block_limit = block_limit});
  NativeCpu cpu;
  Generator g(setting("MENURA_PROOF_SEED", 1) * 4 + (block_limit != 0) * 2 + bits32);
  const u64 only = setting("MENURA_PROOF_ROW", 0), shown_limit = setting("MENURA_PROOF_SHOW", 40);
  u64 done = 0, failures = 0, rows = 0;
  std::map<unsigned, u64> vectors;
  for (unsigned row = 1; row < row_count(); row++) {
    if (only && row != only) continue;
    u64 made = 0, of_row = 0;
    for (u64 i = 0; i < cases * 4 && made < cases; i++) {
      Case c;
      if (!g.make(row, bits32, c)) continue;
      made++;
      u8 vector = 0;
      const std::string text = compare(m, cpu, g, c, block_limit != 0, &vector);
      vectors[vector]++;
      if (text.empty()) continue;
      failures++;
      if (of_row++ < 2 && failures < shown_limit * 3) ADD_FAILURE() << text;
    }
    done += made;
    rows += made != 0;
  }
  std::string ends;
  for (const auto& [vector, n] : vectors) ends += format(" {}:{}", vector, n);
  std::printf("%llu cases of %llu rows, ended by%s, %llu failures\n",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(rows),
              ends.c_str(), static_cast<unsigned long long>(failures));
  EXPECT_EQ(failures, 0u);
  EXPECT_GT(rows, only ? 0u : 700u);
}

u64 cases() { return setting("MENURA_PROOF_CASES", 3); }

TEST(Proof, EveryRowStepped) { prove(0, false, cases()); }
TEST(Proof, EveryRowTranslated) { prove(8, false, cases()); }
TEST(Proof, EveryRowStepped32) { prove(0, true, cases()); }
TEST(Proof, EveryRowTranslated32) { prove(8, true, cases()); }

}  // namespace
}  // namespace menura::engine
