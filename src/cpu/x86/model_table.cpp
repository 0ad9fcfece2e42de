#include "cpu/x86/model_table.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace menura::x86 {

namespace {

constexpr std::string_view kIntel = "GenuineIntel", kAmd = "AuthenticAMD";
constexpr std::string_view kNoTsx = "-hle -rtm";
constexpr std::string_view kIbrs = "+spec-ctrl";

constexpr NamedModel kModels[] = {
    // Plain ones
    {"qemu64-v1", "", kAmd, 15, 107, 1, "Menura virtual CPU",
     "+fpu +de +pse +tsc +msr +pae +mce +cx8 +apic +sep +mtrr +pge +mca +cmov +pat +pse36 +clflush "
     "+mmx +fxsr +sse +sse2 +sse3 +cx16 +x2apic +lahf-lm +syscall +nx +lm",
     0xd},
    {"qemu32-v1", "", kIntel, 6, 6, 3, "Menura virtual CPU",
     "+fpu +de +pse +tsc +msr +pae +mce +cx8 +apic +sep +pge +cmov +pat +mmx +fxsr +sse +sse2 "
     "+sse3",
     4},
    {"kvm64-v1", "", kIntel, 15, 6, 1, "Common KVM processor",
     "+fpu +de +pse +tsc +msr +pae +mce +cx8 +apic +sep +mtrr +pge +mca +cmov +pat +pse36 +clflush "
     "+mmx +fxsr +sse +sse2 +sse3 +cx16 +syscall +nx +lm",
     0xd},
    {"kvm32-v1", "kvm64-v1", "", 15, 6, 1, "Common 32-bit KVM processor", "-cx16 -syscall -nx -lm",
     5},
    {"pentium3-v1", "", kIntel, 6, 7, 3, "",
     "+fpu +de +pse +tsc +msr +pae +mce +cx8 +apic +sep +mtrr +pge +mca +cmov +pat +pse36 +mmx "
     "+fxsr +sse",
     3},
    // Intel's cores
    {"Conroe-v1", "kvm64-v1", "", 6, 15, 3, "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
     "-cx16 +ssse3 +lahf-lm", 10},
    {"core2duo-v1", "Conroe-v1", "", 6, 15, 11, "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
     "+cx16 +acpi +ss +monitor"},
    {"Penryn-v1", "Conroe-v1", "", 6, 23, 3, "Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
     "+cx16 +sse4.1"},
    {"Nehalem-v1", "Penryn-v1", "", 6, 26, 3, "Intel Core i7 9xx (Nehalem Class Core i7)",
     "+sse4.2 +popcnt", 11},
    {"Nehalem-v2", "Nehalem-v1", "", 6, 26, 3, "Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
     kIbrs},
    {"Westmere-v1", "Nehalem-v1", "", 6, 44, 1, "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
     "+aes +pclmulqdq +arat"},
    {"Westmere-v2", "Westmere-v1", "", 6, 44, 1, "Westmere E56xx/L56xx/X56xx (IBRS update)", kIbrs},
    {"SandyBridge-v1", "Westmere-v1", "", 6, 42, 1, "Intel Xeon E312xx (Sandy Bridge)",
     "+avx +xsave +xsaveopt +x2apic +tsc-deadline +rdtscp", 13},
    {"SandyBridge-v2", "SandyBridge-v1", "", 6, 42, 1,
     "Intel Xeon E312xx (Sandy Bridge, IBRS update)", kIbrs},
    {"IvyBridge-v1", "SandyBridge-v1", "", 6, 58, 9, "Intel Xeon E3-12xx v2 (Ivy Bridge)",
     "+f16c +rdrand +fsgsbase +smep +erms"},
    {"IvyBridge-v2", "IvyBridge-v1", "", 6, 58, 9, "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)",
     kIbrs},
    {"Haswell-v1", "IvyBridge-v1", "", 6, 60, 4, "Intel Core Processor (Haswell)",
     "+avx2 +fma +bmi1 +bmi2 +abm +movbe +pcid +invpcid +hle +rtm"},
    {"Haswell-v2", "Haswell-v1", "", 6, 60, 1, "Intel Core Processor (Haswell, no TSX)", kNoTsx},
    {"Haswell-v3", "Haswell-v1", "", 6, 60, 4, "Intel Core Processor (Haswell, IBRS)", kIbrs},
    {"Haswell-v4", "Haswell-v2", "", 6, 60, 1, "Intel Core Processor (Haswell, no TSX, IBRS)",
     kIbrs},
    {"Broadwell-v1", "Haswell-v1", "", 6, 61, 2, "Intel Core Processor (Broadwell)",
     "+adx +rdseed +smap +3dnowprefetch"},
    {"Broadwell-v2", "Broadwell-v1", "", 6, 61, 2, "Intel Core Processor (Broadwell, no TSX)",
     kNoTsx},
    {"Broadwell-v3", "Broadwell-v1", "", 6, 61, 2, "Intel Core Processor (Broadwell, IBRS)", kIbrs},
    {"Broadwell-v4", "Broadwell-v2", "", 6, 61, 2, "Intel Core Processor (Broadwell, no TSX, IBRS)",
     kIbrs},
    {"Skylake-Client-v1", "Broadwell-v1", "", 6, 94, 3, "Intel Core Processor (Skylake)",
     "+xsavec +xgetbv1"},
    {"Skylake-Client-v2", "Skylake-Client-v1", "", 6, 94, 3, "Intel Core Processor (Skylake, IBRS)",
     kIbrs},
    {"Skylake-Client-v3", "Skylake-Client-v2", "", 6, 94, 3,
     "Intel Core Processor (Skylake, IBRS, no TSX)", kNoTsx},
    {"Skylake-Client-v4", "Skylake-Client-v3", "", 6, 94, 3, "", "+xsaves"},
    {"Skylake-Server-v1", "Skylake-Client-v1", "", 6, 85, 4, "Intel Xeon Processor (Skylake)",
     "+avx512f +avx512dq +avx512cd +avx512bw +avx512vl +clflushopt +clwb +pku +pdpe1gb"},
    {"Skylake-Server-v2", "Skylake-Server-v1", "", 6, 85, 4, "Intel Xeon Processor (Skylake, IBRS)",
     "+spec-ctrl -clflushopt"},
    {"Skylake-Server-v3", "Skylake-Server-v2", "", 6, 85, 4,
     "Intel Xeon Processor (Skylake, IBRS, no TSX)", kNoTsx},
    {"Skylake-Server-v4", "Skylake-Server-v3", "", 6, 85, 4, "", ""},
    {"Skylake-Server-v5", "Skylake-Server-v4", "", 6, 85, 4, "", "+xsaves"},
    {"Cascadelake-Server-v1", "Skylake-Server-v1", "", 6, 85, 6,
     "Intel Xeon Processor (Cascadelake)", "+avx512vnni +spec-ctrl +ssbd"},
    {"Cascadelake-Server-v2", "Cascadelake-Server-v1", "", 6, 85, 6, "", "+arch-capabilities"},
    {"Cascadelake-Server-v3", "Cascadelake-Server-v2", "", 6, 85, 6, "", kNoTsx},
    {"Cascadelake-Server-v4", "Cascadelake-Server-v3", "", 6, 85, 6, "", ""},
    {"Cascadelake-Server-v5", "Cascadelake-Server-v4", "", 6, 85, 6, "", "+xsaves"},
    {"Icelake-Server-v1", "Cascadelake-Server-v1", "", 6, 134, 0, "Intel Xeon Processor (Icelake)",
     "+avx512vbmi +avx512vbmi2 +avx512bitalg +avx512-vpopcntdq +gfni +vaes +vpclmulqdq +la57 +umip "
     "+wbnoinvd"},
    {"Icelake-Server-v2", "Icelake-Server-v1", "", 6, 134, 0, "", kNoTsx},
    {"Icelake-Server-v3", "Icelake-Server-v2", "", 6, 134, 0, "", "+arch-capabilities"},
    {"Icelake-Server-v4", "Icelake-Server-v3", "", 6, 106, 0, "",
     "+avx512ifma +sha-ni +fsrm +rdpid"},
    {"Icelake-Server-v5", "Icelake-Server-v4", "", 6, 106, 0, "", "+xsaves"},
    {"Icelake-Server-v6", "Icelake-Server-v5", "", 6, 106, 0, "", ""},
    // AMD's
    {"Opteron_G1-v1", "kvm64-v1", kAmd, 15, 6, 1, "AMD Opteron 240 (Gen 1 Class Opteron)", "-cx16",
     5},
    {"Opteron_G2-v1", "Opteron_G1-v1", "", 15, 6, 1, "AMD Opteron 22xx (Gen 2 Class Opteron)",
     "+cx16 +lahf-lm +svm"},
    {"Opteron_G3-v1", "Opteron_G2-v1", "", 16, 2, 3, "AMD Opteron 23xx (Gen 3 Class Opteron)",
     "+abm +popcnt +sse4a +misalignsse +monitor +rdtscp"},
    {"Opteron_G4-v1", "Opteron_G3-v1", "", 21, 1, 2, "AMD Opteron 62xx class CPU",
     "-monitor +ssse3 +sse4.1 +sse4.2 +aes +pclmulqdq +avx +xsave +fma4 +xop +3dnowprefetch "
     "+pdpe1gb +npt +nrip-save",
     13},
    {"Opteron_G5-v1", "Opteron_G4-v1", "", 21, 2, 0, "AMD Opteron 63xx class CPU",
     "+f16c +fma +tbm"},
    {"EPYC-v1", "Opteron_G5-v1", "", 23, 1, 2, "AMD EPYC Processor",
     "-fma4 -tbm -xop +adx +arat +avx2 +bmi1 +bmi2 +clflushopt +cr8legacy +fsgsbase +fxsr-opt "
     "+mmxext +monitor +movbe +osvw +rdrand +rdseed +sha-ni +smap +smep +topoext +xgetbv1 +xsavec "
     "+xsaveopt"},
    {"EPYC-v2", "EPYC-v1", "", 23, 1, 2, "AMD EPYC Processor (with IBPB)", "+ibpb"},
    {"EPYC-v3", "EPYC-v2", "", 23, 1, 2, "AMD EPYC Processor",
     "+clzero +perfctr-core +xsaveerptr +xsaves"},
    {"EPYC-Rome-v1", "EPYC-v3", "", 23, 49, 0, "AMD EPYC-Rome Processor",
     "+clwb +rdpid +umip +wbnoinvd +amd-stibp"},
    {"EPYC-Rome-v2", "EPYC-Rome-v1", "", 23, 49, 0, "", "+ibrs +amd-ssbd"},
    {"EPYC-Milan-v1", "EPYC-Rome-v2", "", 25, 1, 1, "AMD EPYC-Milan Processor",
     "+erms +fsrm +invpcid +pcid +pku +svme-addr-chk"},
};

constexpr ModelAlias kAliases[] = {
    {"Nehalem-IBRS", "Nehalem-v2"},
    {"Westmere-IBRS", "Westmere-v2"},
    {"SandyBridge-IBRS", "SandyBridge-v2"},
    {"IvyBridge-IBRS", "IvyBridge-v2"},
    {"Haswell-noTSX", "Haswell-v2"},
    {"Haswell-IBRS", "Haswell-v3"},
    {"Haswell-noTSX-IBRS", "Haswell-v4"},
    {"Broadwell-noTSX", "Broadwell-v2"},
    {"Broadwell-IBRS", "Broadwell-v3"},
    {"Broadwell-noTSX-IBRS", "Broadwell-v4"},
    {"Skylake-Client-IBRS", "Skylake-Client-v2"},
    {"Skylake-Client-noTSX-IBRS", "Skylake-Client-v3"},
    {"Skylake-Server-IBRS", "Skylake-Server-v2"},
    {"Skylake-Server-noTSX-IBRS", "Skylake-Server-v3"},
    {"Cascadelake-Server-noTSX", "Cascadelake-Server-v3"},
    {"Icelake-Server-noTSX", "Icelake-Server-v2"},
    {"EPYC-IBPB", "EPYC-v2"},
};

const NamedModel* by_full_name(std::string_view name) {
  const auto* at =
      std::ranges::find_if(kModels, [&](const NamedModel& m) { return m.name == name; });
  return at == std::end(kModels) ? nullptr : at;
}

}  // namespace

std::span<const NamedModel> named_models() { return kModels; }
std::span<const ModelAlias> model_aliases() { return kAliases; }

const NamedModel* find_model(std::string_view name) {
  for (const ModelAlias& alias : kAliases)
    if (alias.name == name) return by_full_name(alias.model);
  if (const NamedModel* model = by_full_name(name)) return model;
  return by_full_name(std::string(name) + "-v1");
}

ResolvedModel resolve(const NamedModel& model) {
  ResolvedModel all;
  if (!model.base.empty()) {
    const NamedModel* base = by_full_name(model.base);
    ensure(base != nullptr, "a CPU model's base is a model");
    all = resolve(*base);
  }
  if (!model.vendor.empty()) all.vendor = model.vendor;
  if (!model.brand.empty()) all.brand = model.brand;
  if (model.level) all.level = model.level;
  all.family = model.family;
  all.model = model.model;
  all.stepping = model.stepping;
  for (const std::string_view change : split(model.changes, ' ')) {
    if (change.empty()) continue;
    const std::string_view feature = change.substr(1);
    if (change[0] == '+')
      all.features.push_back(feature);
    else
      std::erase(all.features, feature);
  }
  return all;
}

}  // namespace menura::x86
