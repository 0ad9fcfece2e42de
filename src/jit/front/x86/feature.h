// The CPUID features that gate instructions, and the set a guest CPU offers.
//
// Owner: jit/front/x86. Threads: plain values.
// Spec: Intel SDM vol. 2 "CPUID feature flag" column of the opcode tables; AMD APM vol. 3 appendix D.
// Example:
//   FeatureSet offered = FeatureSet::all().without(Feature::Avx2);
//   Decoder decoder{Mode::Bits64, offered};   // VPADDD ymm now decodes as #UD, VPADDD xmm still works
#pragma once

#include <functional>

#include "base/types.h"

namespace menura::jit::x86 {

enum class Feature : u8 {
  Base,  // offered by every CPU
  Fpu,
  Tsc,
  Msr,
  Cx8,
  Cx16,
  Cmov,
  Clflush,
  Clflushopt,
  Clwb,
  Clzero,
  Wbnoinvd,
  Fxsr,
  Mmx,
  Sse,
  Sse2,
  Sse3,
  Ssse3,
  Sse41,
  Sse42,
  Sse4a,
  Sep,
  Syscall,
  LahfLm,  // LAHF and SAHF in 64-bit mode
  Popcnt,
  Lzcnt,
  Bmi1,
  Bmi2,
  Adx,
  Movbe,
  Aes,
  Pclmul,
  Sha,
  Gfni,
  Avx,
  Avx2,
  Fma,
  F16c,
  Vaes,
  Vpclmul,
  Rdrand,
  Rdseed,
  Rdtscp,
  Rdpid,
  Rdpru,
  Xsave,
  Xsaveopt,
  Xsavec,
  Xsaves,
  Fsgsbase,
  Invpcid,
  Pku,
  Smap,
  Monitor,
  Monitorx,
  Prefetchw,
  Count
};

class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  static constexpr FeatureSet all() {
    return FeatureSet{(u64{1} << static_cast<unsigned>(Feature::Count)) - 1};
  }
  static constexpr FeatureSet of(Feature feature) {
    return FeatureSet{u64{1} << static_cast<unsigned>(feature)};
  }

  constexpr FeatureSet with(Feature feature) const { return FeatureSet{bits_ | of(feature).bits_}; }
  constexpr FeatureSet without(Feature feature) const {
    return FeatureSet{bits_ & ~of(feature).bits_};
  }
  constexpr bool has(Feature feature) const { return (bits_ & of(feature).bits_) != 0; }
  constexpr bool covers(FeatureSet needed) const { return (needed.bits_ & ~bits_) == 0; }

 private:
  explicit constexpr FeatureSet(u64 bits) : bits_(bits) {}

  // State
  u64 bits_ = u64{1} << static_cast<unsigned>(Feature::Base);
};
static_assert(static_cast<unsigned>(Feature::Count) < 64);

struct CpuidRegisters {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};
// Answers CPUID for a leaf and a subleaf; leaves that do not exist must read as zero.
using CpuidReader = std::function<CpuidRegisters(u32 leaf, u32 subleaf)>;

// What a CPU with these CPUID leaves offers.
FeatureSet features_of(const CpuidReader& cpuid);

}  // namespace menura::jit::x86
