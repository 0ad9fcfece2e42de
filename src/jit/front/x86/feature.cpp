#include "jit/front/x86/feature.h"

namespace menura::jit::x86 {
namespace {

using Register = u32 CpuidRegisters::*;
constexpr Register kEax = &CpuidRegisters::eax, kEbx = &CpuidRegisters::ebx,
                   kEcx = &CpuidRegisters::ecx, kEdx = &CpuidRegisters::edx;

struct Bit {
  Feature feature;
  u32 leaf, subleaf;
  Register in;
  unsigned number;
};
using F = Feature;

// Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E.
constexpr Bit kBits[] = {
    {F::Fpu, 1, 0, kEdx, 0},
    {F::Tsc, 1, 0, kEdx, 4},
    {F::Msr, 1, 0, kEdx, 5},
    {F::Cx8, 1, 0, kEdx, 8},
    {F::Sep, 1, 0, kEdx, 11},
    {F::Cmov, 1, 0, kEdx, 15},
    {F::Clflush, 1, 0, kEdx, 19},
    {F::Mmx, 1, 0, kEdx, 23},
    {F::Fxsr, 1, 0, kEdx, 24},
    {F::Sse, 1, 0, kEdx, 25},
    {F::Sse2, 1, 0, kEdx, 26},
    {F::Sse3, 1, 0, kEcx, 0},
    {F::Pclmul, 1, 0, kEcx, 1},
    {F::Monitor, 1, 0, kEcx, 3},
    {F::Ssse3, 1, 0, kEcx, 9},
    {F::Fma, 1, 0, kEcx, 12},
    {F::Cx16, 1, 0, kEcx, 13},
    {F::Sse41, 1, 0, kEcx, 19},
    {F::Sse42, 1, 0, kEcx, 20},
    {F::Movbe, 1, 0, kEcx, 22},
    {F::Popcnt, 1, 0, kEcx, 23},
    {F::Aes, 1, 0, kEcx, 25},
    {F::Xsave, 1, 0, kEcx, 26},
    {F::Avx, 1, 0, kEcx, 28},
    {F::F16c, 1, 0, kEcx, 29},
    {F::Rdrand, 1, 0, kEcx, 30},
    {F::Fsgsbase, 7, 0, kEbx, 0},
    {F::Bmi1, 7, 0, kEbx, 3},
    {F::Avx2, 7, 0, kEbx, 5},
    {F::Bmi2, 7, 0, kEbx, 8},
    {F::Invpcid, 7, 0, kEbx, 10},
    {F::Rdseed, 7, 0, kEbx, 18},
    {F::Adx, 7, 0, kEbx, 19},
    {F::Smap, 7, 0, kEbx, 20},
    {F::Clflushopt, 7, 0, kEbx, 23},
    {F::Clwb, 7, 0, kEbx, 24},
    {F::Sha, 7, 0, kEbx, 29},
    {F::Pku, 7, 0, kEcx, 3},
    {F::Gfni, 7, 0, kEcx, 8},
    {F::Vaes, 7, 0, kEcx, 9},
    {F::Vpclmul, 7, 0, kEcx, 10},
    {F::Rdpid, 7, 0, kEcx, 22},
    {F::Xsaveopt, 0xD, 1, kEax, 0},
    {F::Xsavec, 0xD, 1, kEax, 1},
    {F::Xsaves, 0xD, 1, kEax, 3},
    {F::Syscall, 0x80000001, 0, kEdx, 11},
    {F::Rdtscp, 0x80000001, 0, kEdx, 27},
    {F::Prefetchw, 0x80000001, 0, kEdx, 29},  // every CPU with long mode takes 0F 0D for a hint
    {F::LahfLm, 0x80000001, 0, kEcx, 0},
    {F::Lzcnt, 0x80000001, 0, kEcx, 5},
    {F::Sse4a, 0x80000001, 0, kEcx, 6},
    {F::Prefetchw, 0x80000001, 0, kEcx, 8},
    {F::Monitorx, 0x80000001, 0, kEcx, 29},
    {F::Clzero, 0x80000008, 0, kEbx, 0},
    {F::Rdpru, 0x80000008, 0, kEbx, 4},
    {F::Wbnoinvd, 0x80000008, 0, kEbx, 9},
};

consteval bool every_feature_has_a_bit() {
  for (unsigned i = static_cast<unsigned>(F::Base) + 1; i < static_cast<unsigned>(F::Count); ++i) {
    bool found = false;
    for (const Bit& bit : kBits) found |= bit.feature == static_cast<F>(i);
    if (!found) return false;
  }
  return true;
}
static_assert(every_feature_has_a_bit());

}  // namespace

FeatureSet features_of(const CpuidReader& cpuid) {
  FeatureSet features;
  for (const Bit& bit : kBits)
    if ((cpuid(bit.leaf, bit.subleaf).*bit.in >> bit.number & 1) != 0)
      features = features.with(bit.feature);
  return features;
}

}  // namespace menura::jit::x86
