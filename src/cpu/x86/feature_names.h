// The names of CPUID's feature bits, as -cpu spells them.
//
// Owner: cpu/x86. Threads: immutable data. Spec: Intel SDM vol. 2 table 3-8, AMD APM vol. 3 appendix E.
// Example: `const NamedFeature* f = find_feature("sse4.1");`
#pragma once

#include <span>
#include <string_view>

#include "cpu/x86/cpuid.h"

namespace menura::x86 {

struct NamedFeature {
  std::string_view name;
  CpuidBit bit;
  std::string_view needs = {};  // another feature without which this one goes too
};

std::span<const NamedFeature> named_features();
// '-', '_' and '.' are the same. Null when there is none.
const NamedFeature* find_feature(std::string_view name);

}  // namespace menura::x86
