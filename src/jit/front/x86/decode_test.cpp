// The decoder's own rules, stated by hand: prefixes, lengths, features, what the rows say. Opcode coverage is
// zydis_test.cpp's and host_test.cpp's.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"
#include "jit/front/x86/sample.h"

namespace menura::jit::x86 {
namespace {

using Code = std::vector<u8>;

Insn decode(const Code& code, Mode mode = Mode::Bits64, FeatureSet features = FeatureSet::all()) {
  return Decoder{mode, features}.decode(code);
}
std::string text(const Code& code, Mode mode = Mode::Bits64) {
  return print(decode(code, mode), 0x1000);
}
Status status(const Code& code, Mode mode = Mode::Bits64) { return decode(code, mode).status; }

TEST(Decode, AsksForMoreAtEveryCut) {
  const std::vector<Code> whole = {
      {0x90},
      {0x66, 0x2E, 0x0F, 0x1F, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
      {0x48, 0xB8, 1, 2, 3, 4, 5, 6, 7, 8},
      {0xC4, 0xE3, 0x7D, 0x06, 0x44, 0x8F, 0x10, 0x31},
      {0x66, 0x0F, 0x38, 0x00, 0x05, 1, 2, 3, 4},
      {0xC8, 0x10, 0x00, 0x01},
      {0xA1, 1, 2, 3, 4, 5, 6, 7, 8},
      {0xF0, 0x48, 0x81, 0x84, 0x24, 1, 2, 3, 4, 5, 6, 7, 8},
  };
  for (const Code& code : whole) {
    for (std::size_t cut = 0; cut < code.size(); ++cut)
      EXPECT_EQ(status({code.begin(), code.begin() + static_cast<long>(cut)}), Status::NeedMore)
          << print(decode(code), 0) << cut;
    EXPECT_EQ(status(code), Status::Ok);
    EXPECT_EQ(decode(code).length, code.size());
  }
}

TEST(Decode, BytesBehindTheInstructionDoNotMatter) {
  Code code = {0x8B, 0x44, 0x24, 0x08};
  Insn alone = decode(code);
  code.resize(64, 0xFF);
  Insn followed = decode(code);
  EXPECT_EQ(print(alone, 0), print(followed, 0));
  EXPECT_EQ(followed.length, 4);
}

TEST(Decode, FifteenBytesAreTheMost) {
  Code fifteen(14, 0x66);
  fifteen.push_back(0x90);
  EXPECT_EQ(decode(fifteen).length, 15);
  Code sixteen(15, 0x66);
  EXPECT_EQ(status(sixteen), Status::TooLong);
  EXPECT_EQ(status(Code(14, 0x66)), Status::NeedMore);
  // Prefixes leave too little room for an immediate.
  EXPECT_EQ(
      status({0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x2E, 0x81, 0xC0, 1, 2, 3, 4}),
      Status::TooLong);
  EXPECT_EQ(status(Code(32, 0xF0)), Status::TooLong);
}

TEST(Decode, AnInvalidOpcodeNeedsNoFurtherBytes) {
  EXPECT_EQ(status({0x06}), Status::Invalid);        // PUSH ES in 64-bit mode
  EXPECT_EQ(status({0x0F, 0x04}), Status::Invalid);  // an empty slot
  EXPECT_EQ(status({0x0F}), Status::NeedMore);
  EXPECT_EQ(status({0x62}, Mode::Bits32), Status::NeedMore);  // BOUND or EVEX
  EXPECT_EQ(status({0x62}), Status::Invalid);
  EXPECT_EQ(status({0x62, 0xC0}, Mode::Bits32), Status::Invalid);
}

TEST(Decode, RexCountsOnlyBeforeTheOpcode) {
  EXPECT_EQ(text({0x48, 0x01, 0xD8}), "add rax, rbx");
  EXPECT_EQ(text({0x48, 0x66, 0x01, 0xD8}), "add ax, bx");
  EXPECT_EQ(text({0x66, 0x48, 0x01, 0xD8}), "add rax, rbx");
  EXPECT_EQ(text({0x41, 0x48, 0x01, 0xD8}), "add rax, rbx");
  EXPECT_EQ(text({0x40, 0x88, 0xE0}), "mov al, spl");
  EXPECT_EQ(text({0x88, 0xE0}), "mov al, ah");
  EXPECT_EQ(text({0x48}, Mode::Bits32), "dec eax");
}

TEST(Decode, OfRepeatPrefixesTheLastCounts) {
  EXPECT_EQ(text({0xF2, 0xF3, 0x0F, 0x58, 0xC1}), "addss xmm0, xmm1");
  EXPECT_EQ(text({0xF3, 0xF2, 0x0F, 0x58, 0xC1}), "addsd xmm0, xmm1");
  EXPECT_EQ(text({0xF3, 0x66, 0x0F, 0x58, 0xC1}), "addss xmm0, xmm1");
  EXPECT_EQ(text({0xF3, 0xA4}), "rep movsb byte ptr es:[rdi], byte ptr [rsi]");
  EXPECT_EQ(text({0xF2, 0xA6}), "repne cmpsb byte ptr [rsi], byte ptr es:[rdi]");
}

TEST(Decode, LongModeIgnoresFourSegmentOverrides) {
  EXPECT_EQ(text({0x64, 0x3E, 0x8B, 0x03}), "mov eax, dword ptr fs:[rbx]");
  EXPECT_EQ(decode({0x2E, 0x8B, 0x03}).segment, Segment::Ds);
  EXPECT_EQ(decode({0x2E, 0x8B, 0x03}, Mode::Bits32).segment, Segment::Cs);
  EXPECT_EQ(decode({0x8B, 0x45, 0x00}, Mode::Bits32).segment, Segment::Ss);
  EXPECT_EQ(decode({0x3E, 0x8B, 0x45, 0x00}, Mode::Bits32).segment, Segment::Ds);
  EXPECT_EQ(decode({0x8B, 0x02}, Mode::Bits16).segment, Segment::Ss);  // [bp+si]
}

TEST(Decode, LockNeedsAMemoryDestination) {
  EXPECT_EQ(text({0xF0, 0x01, 0x03}), "lock add dword ptr [rbx], eax");
  EXPECT_EQ(status({0xF0, 0x01, 0xC3}), Status::Invalid);
  EXPECT_EQ(status({0xF0, 0x03, 0x03}), Status::Invalid);
  EXPECT_EQ(status({0xF0, 0x3B, 0x03}), Status::Invalid);
  EXPECT_EQ(status({0xF0, 0x90}), Status::Invalid);
  EXPECT_EQ(text({0xF0, 0x48, 0x0F, 0xC7, 0x0B}), "lock cmpxchg16b xmmword ptr [rbx]");
}

TEST(Decode, VexAllowsOnlySegmentAndAddressPrefixes) {
  const Code vaddps = {0xC5, 0xF4, 0x58, 0x03};
  EXPECT_EQ(text(vaddps), "vaddps ymm0, ymm1, ymmword ptr [rbx]");
  for (u8 prefix : {0x66, 0xF2, 0xF3, 0xF0, 0x40, 0x48}) {
    Code code = vaddps;
    code.insert(code.begin(), prefix);
    EXPECT_EQ(status(code), Status::Invalid) << int{prefix};
  }
  EXPECT_EQ(text({0x65, 0x67, 0xC5, 0xF4, 0x58, 0x03}), "vaddps ymm0, ymm1, ymmword ptr gs:[ebx]");
  // Outside 64-bit mode a memory ModRM makes it LDS.
  EXPECT_EQ(text({0xC5, 0x03}, Mode::Bits32), "lds eax, fword ptr [ebx]");
  EXPECT_EQ(text(vaddps, Mode::Bits32), "vaddps ymm0, ymm1, ymmword ptr [ebx]");
}

TEST(Decode, NearBranchesHonour66AsAmdDoes) {
  EXPECT_EQ(text({0xE9, 0, 1, 0, 0}), "jmp 0x1105");
  EXPECT_EQ(text({0x66, 0xE9, 0x00, 0x01}), "jmp 0x1104");
  EXPECT_EQ(decode({0x66, 0x48, 0xE9, 0, 1, 0, 0}).length, 7);
  EXPECT_EQ(text({0xEB, 0xFE}, Mode::Bits16), "jmp 0x1000");
}

TEST(Decode, OperandSizes) {
  EXPECT_EQ(text({0x66, 0x90}), "nop");
  EXPECT_EQ(text({0x41, 0x90}), "xchg r8d, eax");
  EXPECT_EQ(text({0xF3, 0x90}), "pause");
  EXPECT_EQ(text({0x66, 0x50}), "push ax");
  EXPECT_EQ(text({0x50}), "push rax");
  EXPECT_EQ(text({0x48, 0x98}), "cdqe");
  EXPECT_EQ(text({0x66, 0x98}), "cbw");
  EXPECT_EQ(text({0x0F, 0x20, 0xC0}, Mode::Bits16), "mov eax, cr0");
  EXPECT_EQ(text({0x0F, 0x20, 0x03}), "mov rbx, cr0");  // mod is ignored
  EXPECT_EQ(text({0x44, 0x0F, 0x20, 0xC0}), "mov rax, cr8");
  EXPECT_EQ(status({0x0F, 0x20, 0xC8}), Status::Invalid);  // CR1
  EXPECT_EQ(text({0x6A, 0xFF}, Mode::Bits16), "push 0xffff");
  EXPECT_EQ(text({0x48, 0x83, 0xC0, 0xFF}), "add rax, 0xffffffffffffffff");
}

TEST(Decode, Addresses) {
  EXPECT_EQ(text({0x8B, 0x05, 0x10, 0, 0, 0}), "mov eax, dword ptr [rip+0x10] # 0x1016");
  EXPECT_EQ(text({0x8B, 0x05, 0x10, 0, 0, 0}, Mode::Bits32), "mov eax, dword ptr [0x10]");
  EXPECT_EQ(text({0x4A, 0x8B, 0x44, 0xE3, 0xF8}), "mov rax, qword ptr [rbx+r12*8-0x8]");
  EXPECT_EQ(text({0x8B, 0x04, 0x25, 0x10, 0, 0, 0x80}), "mov eax, dword ptr [0xffffffff80000010]");
  EXPECT_EQ(text({0xA0, 1, 2, 3, 4, 5, 6, 7, 0x88}), "mov al, byte ptr [0x8807060504030201]");
  EXPECT_EQ(text({0x67, 0xA0, 1, 2, 3, 4}), "mov al, byte ptr [0x4030201]");
  EXPECT_EQ(text({0x8B, 0x41, 0x7F}, Mode::Bits16), "mov ax, word ptr [bx+di+0x7f]");
  EXPECT_EQ(text({0xC4, 0xE2, 0x6D, 0x90, 0x0C, 0x18}),
            "vpgatherdd ymm1, dword ptr [rax+ymm3*1], ymm2");
  EXPECT_EQ(status({0xC4, 0xE2, 0x6D, 0x90, 0x14, 0x18}),
            Status::Invalid);                                          // mask is the destination
  EXPECT_EQ(status({0xC4, 0xE2, 0x6D, 0x90, 0x08}), Status::Invalid);  // no SIB
}

TEST(Decode, FeaturesGate) {
  const Code vpaddd_ymm = {0xC5, 0xF5, 0xFE, 0xC2};
  const Code vpaddd_xmm = {0xC5, 0xF1, 0xFE, 0xC2};
  FeatureSet no_avx2 = FeatureSet::all().without(Feature::Avx2);
  EXPECT_EQ(decode(vpaddd_ymm, Mode::Bits64, no_avx2).status, Status::Invalid);
  EXPECT_EQ(decode(vpaddd_xmm, Mode::Bits64, no_avx2).status, Status::Ok);
  FeatureSet no_avx = FeatureSet::all().without(Feature::Avx);
  EXPECT_EQ(decode({0xC4, 0xE2, 0x71, 0xDC, 0xC2}, Mode::Bits64, no_avx).status,
            Status::Invalid);  // VAESENC
  EXPECT_EQ(decode({0xC4, 0xE2, 0x70, 0xF2, 0xC2}, Mode::Bits64, no_avx).status,
            Status::Ok);  // ANDN
  EXPECT_EQ(decode({0x0F, 0xA2}, Mode::Bits64, FeatureSet{}).status, Status::Ok);
  EXPECT_EQ(decode({0x0F, 0x58, 0xC0}, Mode::Bits64, FeatureSet{}).status, Status::Invalid);
}

TEST(Features, ComeFromCpuid) {
  auto nothing = [](u32, u32) { return CpuidRegisters{}; };
  EXPECT_TRUE(features_of(nothing).has(Feature::Base));
  EXPECT_FALSE(features_of(nothing).has(Feature::Fpu));
  // The leaves of a Core 2 (Merom).
  auto merom = [](u32 leaf, u32) -> CpuidRegisters {
    if (leaf == 1) return {.ecx = 0x0000E3BD, .edx = 0xBFEBFBFF};
    if (leaf == 0x80000001) return {.ecx = 1, .edx = 0x20100800};
    return {};
  };
  FeatureSet features = features_of(merom);
  for (Feature has : {Feature::Sse3, Feature::Ssse3, Feature::Cx16, Feature::Syscall,
                      Feature::LahfLm, Feature::Prefetchw})
    EXPECT_TRUE(features.has(has)) << static_cast<int>(has);
  for (Feature lacks : {Feature::Sse41, Feature::Popcnt, Feature::Avx, Feature::Rdtscp,
                        Feature::Bmi1, Feature::Xsave})
    EXPECT_FALSE(features.has(lacks)) << static_cast<int>(lacks);
}

TEST(Decode, OldCpusIgnoreF3) {
  const Code tzcnt = {0xF3, 0x0F, 0xBC, 0xC1};
  EXPECT_EQ(text(tzcnt), "tzcnt eax, ecx");
  EXPECT_EQ(print(decode(tzcnt, Mode::Bits64, FeatureSet{}), 0), "bsf eax, ecx");
  EXPECT_EQ(print(decode({0x66, 0xF3, 0x0F, 0xBD, 0xC1}, Mode::Bits64, FeatureSet{}), 0),
            "bsr ax, cx");
  EXPECT_EQ(decode({0xF3, 0x0F, 0xB8, 0xC1}, Mode::Bits64, FeatureSet{}).status,
            Status::Invalid);  // POPCNT
  EXPECT_EQ(text({0xF3, 0x0F, 0x1E, 0xFA}), "endbr64");
}

TEST(Rows, Derive) {
  auto row = [](const Code& code, Mode mode = Mode::Bits64) -> const Row& {
    return row_of(decode(code, mode));
  };
  EXPECT_EQ(memory_use(row({0x01, 0x03})), MemoryUse::Modify);
  EXPECT_EQ(memory_use(row({0x8B, 0x03})), MemoryUse::Load);
  EXPECT_EQ(memory_use(row({0x89, 0x03})), MemoryUse::Store);
  EXPECT_EQ(memory_use(row({0x8D, 0x03})), MemoryUse::AddressOnly);
  EXPECT_EQ(memory_use(row({0xA1, 0, 0, 0, 0}, Mode::Bits32)), MemoryUse::Load);
  EXPECT_EQ(memory_use(row({0x0F, 0x1F, 0x00})), MemoryUse::None);
  EXPECT_EQ(lowering(row({0x01, 0x03})), Lowering::Native);
  EXPECT_EQ(lowering(row({0x0F, 0x58, 0xC0})), Lowering::Native);
  EXPECT_EQ(lowering(row({0x50})), Lowering::Emitter);
  EXPECT_EQ(lowering(row({0x0F, 0xA2})), Lowering::Emitter);
  EXPECT_EQ(lowering(row({0xE8, 0, 0, 0, 0})), Lowering::Emitter);
  EXPECT_EQ(unit(row({0xD9, 0xE8})), Unit::X87);
  EXPECT_EQ(unit(row({0x0F, 0xFC, 0xC0})), Unit::Mmx);
  EXPECT_EQ(unit(row({0x0F, 0xAE, 0x13})), Unit::Sse);                  // LDMXCSR
  EXPECT_EQ(unit(row({0xC5, 0xF8, 0x77})), Unit::Avx);                  // VZEROUPPER
  EXPECT_EQ(unit(row({0xF2, 0x0F, 0x38, 0xF1, 0xC0})), Unit::Integer);  // CRC32
  EXPECT_TRUE(touches_mmx(row({0x0F, 0x2A, 0xC0})));                    // CVTPI2PS
  EXPECT_FALSE(touches_mmx(row({0xF3, 0x0F, 0x2A, 0xC0})));             // CVTSI2SS
  EXPECT_EQ(alignment(row({0x0F, 0x58, 0x00}), 16), 16u);               // ADDPS
  EXPECT_EQ(alignment(row({0x0F, 0x10, 0x00}), 16), 1u);                // MOVUPS
  EXPECT_EQ(alignment(row({0xF3, 0x0F, 0x58, 0x00}), 4), 1u);           // ADDSS
  EXPECT_EQ(alignment(row({0xC5, 0xF8, 0x58, 0x00}), 16), 1u);
  EXPECT_EQ(alignment(row({0xC5, 0xFC, 0x28, 0x00}), 32), 32u);  // VMOVAPS
}

TEST(Rows, SaveAreasAreAligned) {
  auto row = [](const Code& code) -> const Row& { return row_of(decode(code)); };
  EXPECT_EQ(alignment(row({0x0F, 0xAE, 0x00}), 512), 16u);          // FXSAVE
  EXPECT_EQ(alignment(row({0x0F, 0xAE, 0x20}), 0), 64u);            // XSAVE
  EXPECT_EQ(alignment(row({0x48, 0x0F, 0xC7, 0x08}), 16), 16u);     // CMPXCHG16B
  EXPECT_EQ(memory_use(row({0x0F, 0xAE, 0x28})), MemoryUse::Load);  // XRSTOR
}

TEST(Rows, EachHasAnEncoding) {
  u64 random = 42;
  for (unsigned row = 1; row < row_count(); ++row) {
    bool found = false;
    for (unsigned attempt = 0; attempt < 300 && !found; ++attempt)
      for (Mode mode : {Mode::Bits16, Mode::Bits32, Mode::Bits64}) {
        Sample code = sample(row, mode, random);
        if (code.length == 0) continue;
        found = true;
        EXPECT_EQ(decode({code.bytes.begin(), code.bytes.begin() + code.length}, mode).row, row);
      }
    EXPECT_TRUE(found) << row << " " << name(row_at(row).mnemonic, 4);
  }
}

TEST(Rows, OperandsResolve) {
  Insn insn = decode({0x66, 0x0F, 0xC7, 0x0B});
  EXPECT_EQ(operand(insn, 0).size, 8);
  insn = decode({0xC8, 0x34, 0x12, 0x05});
  EXPECT_EQ(immediate(insn, 0), 0x1234u);
  EXPECT_EQ(immediate(insn, 1), 5u);
  insn = decode({0xEA, 1, 0, 0, 0, 2, 0}, Mode::Bits32);
  EXPECT_EQ(operand(insn, 0).kind, OperandKind::FarPointer);
  EXPECT_EQ(insn.imm, 1u);
  EXPECT_EQ(insn.imm2, 2u);
  insn = decode({0xD1, 0xE0});
  EXPECT_EQ(immediate(insn, 1), 1u);
  insn = decode({0xDD, 0x33});  // FNSAVE
  EXPECT_EQ(operand(insn, 0).size, 108);
  EXPECT_TRUE(operand(insn, 0).written);
  EXPECT_FALSE(operand(insn, 0).read);
}

}  // namespace
}  // namespace menura::jit::x86
