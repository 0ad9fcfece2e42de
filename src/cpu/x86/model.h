// CPU models: what -cpu names, applied to what the accelerator offers.
//
// Owner: cpu/x86. Threads: pure functions. Spec: Intel SDM vol. 2 CPUID, AMD APM vol. 3 appendix E.
// "max" and "host" are all that is offered; the others are in model_table.h. Properties follow:
// +avx2 -avx2 avx2=on|off, vendor= family= model= stepping= model-id= phys-bits=, check, enforce.
// Example: `AppliedModel cpu = TRY(apply_model("qemu64,+aes", offered));`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cpu/x86/cpuid_entry.h"

namespace menura::x86 {

struct AppliedModel {
  std::vector<CpuidEntry> leaves;
  // Features of the model or of +name that are not offered; none with check=off.
  std::vector<std::string> missing;
};

// An empty text is "max". Errors: an unknown model, feature or property (with the nearest name), a
// bad value, and under `enforce` a feature that is not offered.
Result<AppliedModel> apply_model(std::string_view text, std::vector<CpuidEntry> offered);

std::vector<std::string_view> model_names();
std::vector<std::string_view> feature_names();

}  // namespace menura::x86
