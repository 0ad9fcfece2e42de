#include "cpu/x86/model.h"

#include <gtest/gtest.h>

#include "cpu/x86/feature_names.h"

namespace menura::x86 {
namespace {

// An Intel CPU with everything that has a name, and AVX-512's and PKRU's state.
std::vector<CpuidEntry> everything() {
  return {
      {.leaf = 0, .eax = 0xd, .ebx = 0x756e'6547, .ecx = 0x6c65'746e, .edx = 0x4965'6e69},
      {.leaf = 1, .eax = 0x000a'06f3, .ecx = ~0u, .edx = ~0u},
      {.leaf = 6, .eax = 4},
      {.leaf = 7, .subleaf = 0, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
      {.leaf = 0xd, .subleaf = 0, .eax = 0x2e7, .ebx = 2696, .ecx = 2696},
      {.leaf = 0xd, .subleaf = 1, .eax = 15, .ebx = 2696},
      {.leaf = 0xd, .subleaf = 2, .eax = 256, .ebx = 576},
      {.leaf = 0xd, .subleaf = 5, .eax = 64, .ebx = 1088},
      {.leaf = 0xd, .subleaf = 9, .eax = 8, .ebx = 2688},
      {.leaf = 0x8000'0000, .eax = 0x8000'0008, .ebx = 0x756e'6547},
      {.leaf = 0x8000'0001, .ecx = ~0u, .edx = 0x2c10'0800},
      {.leaf = 0x8000'0002},
      {.leaf = 0x8000'0003},
      {.leaf = 0x8000'0004},
      {.leaf = 0x8000'0007, .edx = ~0u},
      {.leaf = 0x8000'0008, .eax = 0x3028, .ebx = ~0u},
      {.leaf = 0x8000'000a, .edx = ~0u},
      {.leaf = 0x8000'0021, .eax = ~0u},
  };
}

CpuidEntry leaf(const AppliedModel& m, u32 number, u32 subleaf = 0) {
  for (const CpuidEntry& e : m.leaves)
    if (e.leaf == number && e.subleaf.value_or(0) == subleaf) return e;
  return {};
}

AppliedModel applied(std::string_view text) {
  Result<AppliedModel> done = apply_model(text, everything());
  EXPECT_TRUE(done.ok()) << text;
  return done ? std::move(done).value() : AppliedModel{};
}

TEST(CpuModel, MaxIsWhatIsOffered) {
  for (std::string_view text : {"", "max", "host"}) EXPECT_EQ(applied(text).leaves, everything());
}

// The signature as CPUID of that family and model has it: family 15, model 107 is 60Fh plus BH.
TEST(CpuModel, Qemu64) {
  const AppliedModel m = applied("qemu64");
  EXPECT_TRUE(m.missing.empty());
  EXPECT_EQ(leaf(m, 0).ebx, 0x6874'7541u);  // Auth enti cAMD
  EXPECT_EQ(leaf(m, 0).edx, 0x6974'6e65u);
  EXPECT_EQ(leaf(m, 0).ecx, 0x444d'4163u);
  EXPECT_EQ(leaf(m, 1).eax, 0x0006'0fb1u);
  EXPECT_EQ(leaf(m, 1).ecx & (1u << 28 | 1u << 26 | 1u << 25), 0u);  // AVX, XSAVE, AES
  EXPECT_EQ(leaf(m, 1).ecx & (1u | 1u << 13), 1u | 1u << 13);        // SSE3, CX16
  EXPECT_EQ(leaf(m, 7).ebx | leaf(m, 7).ecx | leaf(m, 7).edx, 0u);
  EXPECT_EQ(leaf(m, 0xd).eax, 0u);
  EXPECT_EQ(leaf(m, 0xd, 2).eax, 0u);
  EXPECT_EQ(leaf(m, 0x8000'0001).edx & 0x0183'f3ff, leaf(m, 1).edx & 0x0183'f3ff);
  EXPECT_EQ(leaf(m, 0x8000'0002).eax, 0x756e'654du);  // "Menu"
}

TEST(CpuModel, FeaturesComeAndGoWithWhatTheyNeed) {
  const AppliedModel m = applied("max,-avx,pdpe1gb=off");
  EXPECT_EQ(leaf(m, 7).ebx & 1u << 5, 0u);   // AVX2
  EXPECT_EQ(leaf(m, 1).ecx & 1u << 12, 0u);  // FMA
  EXPECT_EQ(leaf(m, 0xd).eax, 0x203u);
  EXPECT_EQ(leaf(m, 0xd, 2), CpuidEntry{});
  EXPECT_EQ(leaf(m, 0xd).ecx, 2696u);  // PKRU still lies at 2688
  EXPECT_EQ(leaf(m, 0x8000'0001).edx & 1u << 26, 0u);
  EXPECT_NE(leaf(applied("qemu64,+sse4_1,sse4-2=on"), 1).ecx & 3u << 19, 0u);
}

TEST(CpuModel, GenerationsAddToTheirBases) {
  const AppliedModel haswell = applied("Haswell-noTSX");
  EXPECT_EQ(leaf(haswell, 1).eax, 0x0003'06c1u);  // the desktop part's signature
  EXPECT_EQ(leaf(haswell, 0).ebx, 0x756e'6547u);
  EXPECT_EQ(leaf(haswell, 7).ebx & (1u << 5 | 1u << 4 | 1u << 11), 1u << 5);  // AVX2, HLE, RTM
  EXPECT_EQ(leaf(haswell, 7).ebx & 1u << 20, 0u);                             // SMAP came later
  EXPECT_NE(leaf(applied("Broadwell"), 7).ebx & 1u << 20, 0u);
  EXPECT_EQ(applied("Haswell").leaves, applied("Haswell-v1").leaves);
  EXPECT_EQ(applied("EPYC-IBPB").leaves, applied("EPYC-v2").leaves);
  EXPECT_EQ(leaf(applied("EPYC-Milan"), 1).eax, 0x00a0'0f11u);
  EXPECT_EQ(leaf(applied("Nehalem"), 0).eax, 11u);
}

TEST(CpuModel, Properties) {
  const AppliedModel m =
      applied("max,vendor=AuthenticAMD,family=25,model=17,stepping=1,phys-bits=36,model-id=X");
  EXPECT_EQ(leaf(m, 1).eax, 0x00a1'0f11u);  // Zen 4's first server parts
  EXPECT_EQ(leaf(m, 0x8000'0008).eax, 0x3024u);
  EXPECT_EQ(leaf(m, 0x8000'0002).eax, u32{'X'});
}

TEST(CpuModel, ErrorsSayWhat) {
  const auto error = [](std::string_view text) {
    Result<AppliedModel> done = apply_model(text, everything());
    return done ? std::string() : done.error().text;
  };
  EXPECT_EQ(error("qemu46"), "There is no CPU model 'qemu46' (did you mean 'qemu64'?)");
  EXPECT_EQ(error("max,+avx22"), "There is no CPU feature 'avx22' (did you mean 'avx2'?)");
  EXPECT_EQ(error("max,avx=maybe"), "CPU property 'avx' is on or off, not 'maybe'");
  EXPECT_EQ(error("max,phys-bits=64"),
            "CPU property 'phys-bits' is a number from 32 to 52, not '64'");
}

TEST(CpuModel, MissingFeaturesAreNamedAndEnforced) {
  std::vector<CpuidEntry> poor = everything();
  poor[1].ecx &= ~(1u << 28);  // AVX
  EXPECT_TRUE(apply_model("qemu64,+avx,check=off", poor)->missing.empty());
  const Result<AppliedModel> m = apply_model("qemu64,+avx", poor);
  ASSERT_TRUE(m.ok());
  EXPECT_EQ(m->missing, (std::vector<std::string>{"avx"}));
  EXPECT_FALSE(apply_model("qemu64,+avx,enforce", poor).ok());
}

TEST(CpuModel, NamesAreUniqueAndNeedsExist) {
  for (const NamedFeature& f : named_features()) {
    EXPECT_EQ(find_feature(f.name), &f);
    if (!f.needs.empty()) {
      EXPECT_NE(find_feature(f.needs), nullptr) << f.name;
    }
  }
}

}  // namespace
}  // namespace menura::x86
