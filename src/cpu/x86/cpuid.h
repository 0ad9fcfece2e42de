// Where CPUID tells of a feature, and questions to a CPU about it.
//
// Owner: cpu/x86. Threads: the vCPU's. Spec: Intel SDM vol. 2 CPUID, AMD APM vol. 3 appendix E.
// Example: `if (has(bus, {7, 0, &CpuidLeaf::ebx, 1})) ...  // TSC_ADJUST`
#pragma once

#include "cpu/x86/bus.h"

namespace menura::x86 {

struct CpuidBit {
  u32 leaf = 0, subleaf = 0;
  u32 CpuidLeaf::*in = nullptr;
  u8 number = 0;
};

inline bool has(CpuBus& bus, const CpuidBit& bit) {
  return bus.cpuid(bit.leaf, bit.subleaf).*bit.in >> bit.number & 1;
}

// Whether leaf 0 says AuthenticAMD: its first four letters, as they lie in EBX.
inline constexpr u32 kAuth = 0x6874'7541;
inline bool is_amd(CpuBus& bus) { return bus.cpuid(0, 0).ebx == kAuth; }

}  // namespace menura::x86
