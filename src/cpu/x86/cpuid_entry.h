// CpuidEntry: one answer of CPUID, as accelerators offer, models narrow and vCPUs are given them.
//
// Owner: cpu/x86. Threads: a value. Spec: Intel SDM vol. 2 CPUID.
// Example: `std::vector<CpuidEntry> offered = accelerator.supported_cpuid();`
#pragma once

#include <optional>

#include "base/types.h"

namespace menura {

struct CpuidEntry {
  u32 leaf = 0;
  std::optional<u32> subleaf = {};  // when the leaf has subleaves
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  bool operator==(const CpuidEntry&) const = default;
};

}  // namespace menura
