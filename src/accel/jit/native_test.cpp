// Every native instruction form, at random, against the host's CPU running the same bytes: stepped
// (a thunk) and translated (a block), alone and in sequences that keep flags alive across memory
// checks. Seeds are fixed; MENURA_FUZZ_CASES and MENURA_FUZZ_SEED ask for more.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "accel/jit/host_oracle.h"
#include "accel/jit/jit_vcpu.h"
#include "accel/jit/test_machine.h"
#include "jit/front/x86/sample.h"

namespace menura::engine {
namespace {

using jit::x86::Mnemonic;

constexpr u8 kPointer = x86::Rsi;  // the register that memory operands use in sequences

// What the guest's and the oracle's runs begin with.
void to_state(const NativeState& n, x86::State& s, u64 rip) {
  s = flat_state(rip);
  for (unsigned i = 0; i < 16; i++) s.gpr[i] = n.gpr[i];
  s.rflags = (n.flags & x86::kArithmeticFlags) | 2;
  std::memcpy(&s.x87.fcw, n.fx, 2);
  std::memcpy(&s.x87.fsw, n.fx + 2, 2);
  s.x87.ftw = n.fx[4];
  std::memcpy(&s.mxcsr, n.fx + 24, 4);
  for (unsigned i = 0; i < 8; i++) std::memcpy(s.x87.st[i].data(), n.fx + 32 + 16 * i, 10);
  for (unsigned i = 0; i < 16; i++) std::memcpy(s.vec[i].qwords.data(), n.ymm[i], 32);
}

// Status flags that the manuals leave undefined behind a program, and whether it looks at them.
class UndefinedFlags {
 public:
  bool reads(const jit::x86::Row& row) const { return row.flags.read & flags_; }
  void after(const jit::x86::Row& row) {
    if (!(row.attributes & jit::x86::attr::kCountedFlags)) flags_ &= ~row.flags.written;
    flags_ |= row.flags.undefined;
  }
  u64 mask() const {
    constexpr u64 kBits[] = {x86::kCf, x86::kPf, x86::kAf, x86::kZf, x86::kSf, x86::kOf};
    u64 mask = 0;
    for (unsigned i = 0; i < 6; i++)
      if (flags_ >> i & 1) mask |= kBits[i];
    return mask;
  }

 private:
  u8 flags_ = 0;
};

std::string difference(const NativeState& n, const x86::State& s, u64 undefined) {
  for (unsigned i = 0; i < 16; i++)
    if (i != x86::Rsp && s.gpr[i] != n.gpr[i])
      return fmt::format("r{}: {:#x}, host {:#x}", i, s.gpr[i], n.gpr[i]);
  if ((s.rflags ^ n.flags) & x86::kArithmeticFlags & ~undefined)
    return fmt::format("flags: {:#x}, host {:#x}", s.rflags & x86::kArithmeticFlags,
                       n.flags & x86::kArithmeticFlags);
  if (std::memcmp(&s.mxcsr, n.fx + 24, 4)) return fmt::format("mxcsr {:#x}", s.mxcsr);
  if (std::memcmp(&s.x87.fsw, n.fx + 2, 2) || s.x87.ftw != n.fx[4] ||
      std::memcmp(&s.x87.fcw, n.fx, 2))
    return fmt::format("x87 control {:#x} {:#x} {:#x}", s.x87.fcw, s.x87.fsw, s.x87.ftw);
  for (unsigned i = 0; i < 8; i++)
    if (std::memcmp(s.x87.st[i].data(), n.fx + 32 + 16 * i, 10)) return fmt::format("st({})", i);
  for (unsigned i = 0; i < 16; i++)
    if (std::memcmp(s.vec[i].qwords.data(), n.ymm[i], 32)) return fmt::format("ymm{}", i);
  return "";
}

class Generator {
 public:
  Generator(u64 seed, u64 data) : random_(seed), data_(data) {}

  u64 number() { return random_(); }
  bool chance(unsigned percent) { return random_() % 100 < percent; }
  // Small, large, and those around the borders of sizes.
  u64 interesting() {
    constexpr u64 kEdges[] = {0,
                              1,
                              2,
                              0x7f,
                              0x80,
                              0xff,
                              0x7fff,
                              0x8000,
                              0xffff,
                              0x7fff'ffff,
                              0x8000'0000,
                              0xffff'ffff,
                              0x7fff'ffff'ffff'ffff,
                              0x8000'0000'0000'0000,
                              ~u64{0}};
    switch (random_() % 4) {
      case 0: return kEdges[random_() % std::size(kEdges)];
      case 1: return random_() % 100;
      default: return random_();
    }
  }

  NativeState state() {
    NativeState n{};
    for (u64& r : n.gpr) r = interesting();
    n.flags = 0x202 | (random_() & x86::kArithmeticFlags);
    const u16 fcw = 0x37f;
    std::memcpy(n.fx, &fcw, 2);
    n.fx[4] = static_cast<u8>(random_());
    const u32 mxcsr = 0x1f80 | static_cast<u32>(random_() & 0x6000);
    std::memcpy(n.fx + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
      const double value = static_cast<double>(static_cast<i64>(interesting())) / 64;
      const long double wide = value;
      std::memcpy(n.fx + 32 + 16 * i, &wide, 10);
    }
    for (auto& y : n.ymm)
      for (unsigned i = 0; i < 32; i += 8) {
        const u64 v = interesting();
        std::memcpy(y + i, &v, 8);
      }
    return n;
  }

  // One native instruction whose memory operand, if any, can be placed by registers.
  std::vector<u8> instruction(jit::x86::Insn& insn) {
    for (;;) {
      std::vector<u8> bytes;
      if (chance(15)) bytes.push_back(0x66);
      if (chance(4)) bytes.push_back(0xf0);
      if (chance(15)) bytes.push_back(chance(50) ? 0xf2 : 0xf3);
      if (chance(45)) bytes.push_back(static_cast<u8>(0x40 | random_() % 16));
      switch (random_() % 8) {
        case 0: break;
        case 1: [[fallthrough]];
        case 2: bytes.push_back(0x0f); break;
        case 3: bytes.push_back(0x0f), bytes.push_back(chance(70) ? 0x38 : 0x3a); break;
        case 4:
        case 5:
          bytes.push_back(0xc4);
          bytes.push_back(static_cast<u8>((random_() & 0xe0) | (1 + random_() % 3)));
          bytes.push_back(static_cast<u8>(random_()));
          break;
        case 6: bytes.push_back(static_cast<u8>(0xd8 + random_() % 8)); break;
        case 7: break;
      }
      while (bytes.size() < 15) bytes.push_back(static_cast<u8>(random_()));
      insn = decoder_.decode(bytes);
      if (insn.status != jit::x86::Status::Ok || !usable(insn)) continue;
      bytes.resize(insn.length);
      return bytes;
    }
  }

  static bool usable(const jit::x86::Insn& insn) {
    using namespace jit::x86;
    const Row& row = row_of(insn);
    if (lowering(row) != Lowering::Native) return false;
    if (row.attributes & (attr::kMasked | attr::kDistinct)) return false;
    switch (insn.mnemonic) {
      case Mnemonic::Fnstenv:  // they show where the instruction lies
      case Mnemonic::Fnsave:
      case Mnemonic::Fldenv:
      case Mnemonic::Frstor:
      case Mnemonic::Ldmxcsr:
      case Mnemonic::Vldmxcsr:
      case Mnemonic::Fldcw: return false;
      default: break;
    }
    if (native_template(insn).general_used & 1u << menura::x86::Rsp) return false;
    if (!insn.is_memory()) return true;
    if (insn.address_size != 8 || insn.has(seen::kRipRelative)) return false;
    if (insn.segment == jit::x86::Segment::Fs || insn.segment == jit::x86::Segment::Gs)
      return false;
    if (insn.base == kNoRegister || insn.base == menura::x86::Rsp) return false;
    const bool bit_string = row.attributes & attr::kBitString;
    return insn.base != insn.index &&
           !(bit_string && (insn.base == insn.reg || insn.index == insn.reg));
  }

  // Sets the registers so that the operand lies at `at`.
  static void place(const jit::x86::Insn& insn, NativeState& n, u64 at) {
    u64 sum = static_cast<u64>(insn.disp);
    if (insn.index != jit::x86::kNoRegister) {
      n.gpr[insn.index] &= 0xff;
      sum += n.gpr[insn.index] << insn.scale;
    }
    if (jit::x86::row_of(insn).attributes & jit::x86::attr::kBitString) n.gpr[insn.reg] &= 0x3ff;
    n.gpr[insn.base] = at - sum;
  }

 private:
  std::mt19937_64 random_;
  u64 data_;
  jit::x86::Decoder decoder_{jit::x86::Mode::Bits64, jit::x86::FeatureSet::all()};
};

std::string hex(std::span<const u8> bytes) {
  std::string s;
  for (u8 b : bytes) s += fmt::format("{:02x} ", b);
  return s;
}

u64 setting(const char* name, u64 otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// Runs one program on both, and compares.
void compare(TestMachine& m, HostOracle& host, const NativeState& begin, std::vector<u8> program,
             Generator& g, const UndefinedFlags& undefined) {
  std::vector<u8> image(kDataSize);
  for (size_t i = 0; i < image.size(); i += 8) {
    const u64 v = g.interesting();
    std::memcpy(image.data() + i, &v, 8);
  }
  std::memcpy(m.data_bytes(), image.data(), kDataSize);
  NativeState expected = begin;
  const int vector = host.run(expected, program);
  std::vector<u8> expected_data(m.data_bytes(), m.data_bytes() + kDataSize);
  std::memcpy(m.data_bytes(), image.data(), kDataSize);

  static u64 offset = 0;
  offset = (offset + 64) % (kCodeSize - 256);
  const std::string text = hex(program);
  program.push_back(0xf4);
  x86::State s;
  to_state(begin, s, m.code() + offset);
  m.load(offset, program);
  m.cpu().set(s);
  const Exit exit = m.cpu().run();
  m.cpu().get(s);
  if (vector >= 0) {
    ASSERT_EQ(exit, Exit::Reset) << text;  // delivered into a missing IDT
    return;
  }
  ASSERT_EQ(exit, Exit::Halted) << text << " rip +" << s.rip - m.code() - offset;
  ASSERT_EQ(difference(expected, s, undefined.mask()), "") << text;
  ASSERT_EQ(std::memcmp(expected_data.data(), m.data_bytes(), kDataSize), 0) << text << " memory";
}

void singles(unsigned block_limit, u64 cases) {
  TestMachine m({.code_size = 4 << 20, .block_limit = block_limit});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 1), m.data());
  for (u64 i = 0; i < cases && !testing::Test::HasFatalFailure(); i++) {
    jit::x86::Insn insn;
    const std::vector<u8> bytes = g.instruction(insn);
    NativeState n = g.state();
    // Anywhere, also across the border of two pages; aligned more often.
    u64 at = m.data() + 0x1000 - 64 + g.number() % 128;
    if (g.chance(60)) at &= ~u64{31};
    if (insn.is_memory()) Generator::place(insn, n, at);
    UndefinedFlags undefined;
    undefined.after(jit::x86::row_of(insn));
    compare(m, host, n, bytes, g, undefined);
  }
}

TEST(Native, SteppedInstructionsMatchTheHost) { singles(0, setting("MENURA_FUZZ_CASES", 20000)); }
TEST(Native, TranslatedInstructionsMatchTheHost) {
  singles(8, setting("MENURA_FUZZ_CASES", 20000));
}

TEST(Native, SequencesMatchTheHost) {
  TestMachine m({.code_size = 4 << 20, .block_limit = 64});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 2), m.data());
  const u64 cases = setting("MENURA_FUZZ_CASES", 10000);
  for (u64 i = 0; i < cases && !HasFatalFailure(); i++) {
    std::vector<u8> program;
    UndefinedFlags undefined;
    NativeState n = g.state();
    n.gpr[kPointer] = m.data() + 0x1000 - 64 + (g.number() % 8) * 32;
    while (program.size() < 60) {
      jit::x86::Insn insn;
      const std::vector<u8> bytes = g.instruction(insn);
      const ir::Native t = jit::x86::native_template(insn);
      if (insn.mnemonic == Mnemonic::Div || insn.mnemonic == Mnemonic::Idiv) continue;
      const bool writes_pointer =
          (t.general_used >> kPointer & 1) || (insn.is_memory() && insn.base != kPointer) ||
          insn.index != jit::x86::kNoRegister || insn.disp != static_cast<i8>(insn.disp) ||
          (jit::x86::row_of(insn).attributes & jit::x86::attr::kBitString);
      if (writes_pointer) continue;
      if (insn.is_memory() && jit::x86::memory_size(insn) >= 16) continue;  // alignment
      if (undefined.reads(jit::x86::row_of(insn))) continue;
      undefined.after(jit::x86::row_of(insn));
      program.insert(program.end(), bytes.begin(), bytes.end());
    }
    compare(m, host, n, program, g, undefined);
  }
}

// What execute() does instead of the host, for what a process may run.

TEST(Semantics, StringInstructionsMatchTheHost) {
  constexpr u8 kOpcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  TestMachine m({.code_size = 4 << 20, .block_limit = 64});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 3), m.data());
  const u64 cases = setting("MENURA_FUZZ_CASES", 10000);
  for (u64 i = 0; i < cases && !HasFatalFailure(); i++) {
    std::vector<u8> program;
    const bool down = g.chance(30);
    if (down) program.push_back(0xfd);
    if (g.chance(70)) program.push_back(g.chance(50) ? 0xf2 : 0xf3);
    if (g.chance(25)) program.push_back(0x66);
    if (g.chance(30)) program.push_back(0x48);
    program.push_back(kOpcodes[g.number() % std::size(kOpcodes)]);
    if (down) program.push_back(0xfc);
    NativeState n = g.state();
    // Around the border of two pages, near each other, sometimes long.
    n.gpr[x86::Rcx] = g.number() % (g.chance(10) ? 200 : 20);
    n.gpr[x86::Rsi] = m.data() + 0x2000 - 64 + g.number() % 128;
    n.gpr[x86::Rdi] = n.gpr[x86::Rsi] + g.number() % 64 - 32;
    compare(m, host, n, program, g, {});
  }
}

TEST(Semantics, MaskedMovesMatchTheHost) {
  using namespace jit::x86;
  TestMachine m({.code_size = 4 << 20, .block_limit = 64});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 4), m.data());
  const u64 at = m.data() + 0x2000 - 16;
  u64 random = 4, done = 0;
  for (unsigned row = 1; row < row_count(); row++) {
    const bool masked = row_at(row).attributes & attr::kMasked;
    if (!masked && row_at(row).mnemonic != Mnemonic::Xlat) continue;
    for (unsigned i = 0; i < 300 && !HasFatalFailure(); i++) {
      const Sample code = sample(row, Mode::Bits64, random);
      if (code.length == 0) continue;
      const Insn insn = Decoder{Mode::Bits64, FeatureSet::all()}.decode(code.bytes);
      const bool elsewhere = insn.address_size != 8 || insn.has(seen::kRipRelative) ||
                             insn.segment >= jit::x86::Segment::Fs;
      if (elsewhere) continue;
      NativeState n = g.state();
      n.gpr[menura::x86::Rdi] = n.gpr[menura::x86::Rbx] = at;
      if (insn.has(seen::kVsib)) {
        if (insn.base == kNoRegister || insn.base == menura::x86::Rsp) continue;
        n.gpr[insn.base] = at - static_cast<u64>(insn.disp);
        for (u8& byte : n.ymm[insn.index]) byte = 0;
        const unsigned size = (insn.opcode & 1) ? 8 : 4;
        for (unsigned k = 0; k < 32; k += size) n.ymm[insn.index][k] = g.number() % 16;
      } else if (insn.is_memory()) {
        if (insn.base == kNoRegister || insn.base == menura::x86::Rsp || insn.base == insn.index ||
            insn.index == menura::x86::Rsp)
          continue;
        Generator::place(insn, n, at);
      }
      compare(m, host, n, {code.bytes.begin(), code.bytes.begin() + code.length}, g, {});
      done++;
    }
  }
  EXPECT_GT(done, 1000u);
}

// On a stack inside the data, which R15 swaps for the oracle's own.
TEST(Semantics, StackInstructionsMatchTheHost) {
  const std::vector<std::vector<u8>> kBodies = {
      {0x50},                          // push rax
      {0x54},                          // push rsp: holds an address that both know
      {0x66, 0x51},                    // push cx
      {0x6a, 0x80},                    // push -128
      {0x66, 0x68, 0x34, 0x92},        // push imm16
      {0x68, 0x78, 0x56, 0x34, 0x92},  // push imm32
      {0xff, 0x36},                    // push [rsi]
      {0xff, 0x74, 0x24, 0x08},        // push [rsp + 8]
      {0x58},                          // pop rax
      {0x66, 0x5a},                    // pop dx
      {0x8f, 0x06},                    // pop [rsi]
      {0x8f, 0x44, 0x24, 0x08},        // pop [rsp + 8]
      {0x66, 0x8f, 0x04, 0x24},        // pop word [rsp]
      {0xc8, 0x20, 0x00, 0x00},        // enter 32, 0
      {0xc8, 0x10, 0x00, 0x01},        // enter 16, 1
      {0xc8, 0x08, 0x00, 0x04},        // enter 8, 4
      {0x66, 0xc8, 0x08, 0x00, 0x02},  // enter of words
      {0xc9},                          // leave
  };
  constexpr size_t kFrames = 13, kWordFrame = 16;
  TestMachine m({.code_size = 4 << 20, .block_limit = 64});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 5), m.data());
  const u64 cases = setting("MENURA_FUZZ_CASES", 5000);
  for (u64 i = 0; i < cases && !HasFatalFailure(); i++) {
    std::vector<u8> program = {0x49, 0x89, 0xe7, 0x48, 0x89, 0xfc};  // mov r15, rsp; mov rsp, rdi
    // LEAVE loads RBP with anything, and ENTER of words truncates it: no frame comes after either.
    for (unsigned k = 0, framed = 0; k < 6; k++) {
      const size_t which = g.number() % kBodies.size();
      if (which >= kFrames && framed) continue;
      framed |= which >= kWordFrame;
      program.insert(program.end(), kBodies[which].begin(), kBodies[which].end());
    }
    // mov r14, rsp; mov rsp, r15; xor r15d, r15d
    for (u8 byte : {0x49, 0x89, 0xe6, 0x4c, 0x89, 0xfc, 0x45, 0x31, 0xff}) program.push_back(byte);
    NativeState n = g.state();
    n.gpr[x86::Rsi] = m.data() + 0x800;
    n.gpr[x86::Rdi] = m.data() + 0x2000 + g.number() % 32;
    n.gpr[x86::Rbp] = n.gpr[x86::Rdi] + 64;
    UndefinedFlags undefined;
    compare(m, host, n, program, g, undefined);
  }
}

// Saves, disturbs and restores: registers must come back, and memory be as the host writes it but
// for instruction pointers, which are nobody's.
TEST(Semantics, FloatingPointStateMatchesTheHost) {
  using Bytes = std::vector<u8>;
  const Bytes clear_area = {0x48, 0x89, 0xf7, 0xb9, 0x40, 3, 0, 0, 0x31, 0xc0, 0xf3, 0xaa};
  const Bytes all = {0xb8, 7, 0, 0, 0, 0x31, 0xd2};  // mov eax, 7; xor edx, edx
  const Bytes no_pointers = {0x48, 0xc7, 0x46, 0x0c, 0, 0, 0, 0,
                             0x48, 0xc7, 0x46, 0x14, 0, 0, 0, 0};
  const Bytes no_fx_pointers = {0x48, 0xc7, 0x46, 0x08, 0, 0, 0, 0, 0x48, 0xc7, 0x46, 0x10, 0, 0, 0,
                                0,    0xc7, 0x46, 0x1c, 0, 0, 0, 0, 0x66, 0xc7, 0x46, 0x06, 0, 0};
  const Bytes zero_vectors = {0xc5, 0xfc, 0x77};
  const Bytes init = {0xdb, 0xe3};
  const std::vector<std::vector<Bytes>> programs = {
      {{0xdd, 0x36}, no_pointers},                                                  // fnsave
      {{0xdd, 0x36}, no_pointers, {0xdd, 0x26}},                                    // frstor
      {{0x66, 0xdd, 0x36}, {0x66, 0xdd, 0x26}, clear_area},                         // of words
      {{0xd9, 0x36}, no_pointers},                                                  // fnstenv
      {{0xd9, 0x36}, {0x66, 0xc7, 0x46, 0x04, 0, 0x18}, {0xd9, 0x26}, clear_area},  // other TOP
      {clear_area, {0x48, 0x0f, 0xae, 0x06}, no_fx_pointers},                       // fxsave64
      {{0x0f, 0xae, 0x06}, init, zero_vectors, {0x0f, 0xae, 0x0e}, clear_area},
      {clear_area,
       all,
       {0x48, 0x0f, 0xae, 0x26},
       init,
       zero_vectors,
       {0x48, 0x0f, 0xae, 0x2e},
       clear_area},  // xsave64
      {clear_area,
       all,
       {0x48, 0x0f, 0xc7, 0x26},
       init,
       zero_vectors,
       {0x48, 0x0f, 0xae, 0x2e},
       clear_area},  // xsavec64
      {clear_area, all, {0x0f, 0xae, 0x36}, zero_vectors, {0x0f, 0xae, 0x2e}, clear_area},
      {clear_area, all, {0x0f, 0xae, 0x2e}},  // xrstor of nothing: all as at reset
  };
  TestMachine m({.code_size = 4 << 20, .block_limit = 64});
  HostOracle host;
  Generator g(setting("MENURA_FUZZ_SEED", 6), m.data());
  for (const auto& parts : programs)
    for (unsigned i = 0; i < 100 && !HasFatalFailure(); i++) {
      Bytes program;
      for (const Bytes& part : parts) program.insert(program.end(), part.begin(), part.end());
      NativeState n = g.state();
      n.gpr[x86::Rsi] = m.data() + 0x800;
      compare(m, host, n, program, g, {});
    }
}

}  // namespace
}  // namespace menura::engine
