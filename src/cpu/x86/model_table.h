// The named CPU models: who made them, how they identify themselves, and what each generation added.
//
// Owner: cpu/x86. Threads: immutable data. Sources: Intel SDM vol. 4 table 2-1 (families and models),
// vol. 2 CPUID; AMD's Family 0Fh to 19h revision guides and processor programming references; the
// names and versions are QEMU's documented ones, with which model_peer_test.cpp compares them.
// Example: `const NamedModel* m = find_model("Haswell-noTSX");`
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace menura::x86 {

struct NamedModel {
  std::string_view name;    // with its version: "Haswell-v2"
  std::string_view base;    // the model whose vendor and features it begins with; may be empty
  std::string_view vendor;  // empty: the base's
  u32 family, model, stepping;
  std::string_view brand;    // leaves 80000002h-4h; empty: the base's
  std::string_view changes;  // "+aes -hle ...", in feature_names.h's spelling
  u32 level = 0;             // highest standard leaf; 0: the base's
};

struct ModelAlias {
  std::string_view name, model;
};

std::span<const NamedModel> named_models();
std::span<const ModelAlias> model_aliases();

// By name or alias; a name without a version means version 1. Null when there is none.
const NamedModel* find_model(std::string_view name);

// What the model comes to, with all that it has from its bases.
struct ResolvedModel {
  std::string_view vendor, brand;
  u32 family = 0, model = 0, stepping = 0, level = 0;
  std::vector<std::string_view> features;
};
ResolvedModel resolve(const NamedModel& model);

}  // namespace menura::x86
