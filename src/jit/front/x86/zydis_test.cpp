// Compares the decoder with Zydis over all maps, opcodes, ModRM bytes and modes, with the prefixes that matter.
// By default a fixed sample runs; MENURA_EXHAUSTIVE=1 runs everything.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/format.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"
#include "jit/front/x86/sample.h"
#include "jit/front/x86/zydis_oracle.h"

namespace menura::jit::x86 {
namespace {

bool exhaustive() { return std::getenv("MENURA_EXHAUSTIVE") != nullptr; }

// A small generator of our own, so that samples are the same everywhere.
u64 scramble(u64 x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 27;
  x *= 0x94D049BB133111EB;
  return x ^ x >> 31;
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

// Every row, by encodings made from it.
TEST_P(ZydisTest, Samples) {
  u64 random = 1;
  for (unsigned row = 1; row < row_count(); ++row)
    for (unsigned attempt = 0; attempt < 50; ++attempt) {
      Sample found = sample(row, mode(), random);
      if (found.length != 0) check({found.bytes.begin(), found.bytes.begin() + found.length});
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
