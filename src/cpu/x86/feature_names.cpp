#include "cpu/x86/feature_names.h"

#include <algorithm>

namespace menura::x86 {

namespace {

constexpr auto kEax = &CpuidLeaf::eax, kEbx = &CpuidLeaf::ebx, kEcx = &CpuidLeaf::ecx,
               kEdx = &CpuidLeaf::edx;

constexpr NamedFeature kFeatures[] = {
    {"fpu", {1, 0, kEdx, 0}},
    {"vme", {1, 0, kEdx, 1}},
    {"de", {1, 0, kEdx, 2}},
    {"pse", {1, 0, kEdx, 3}},
    {"tsc", {1, 0, kEdx, 4}},
    {"msr", {1, 0, kEdx, 5}},
    {"pae", {1, 0, kEdx, 6}},
    {"mce", {1, 0, kEdx, 7}},
    {"cx8", {1, 0, kEdx, 8}},
    {"apic", {1, 0, kEdx, 9}},
    {"sep", {1, 0, kEdx, 11}},
    {"mtrr", {1, 0, kEdx, 12}},
    {"pge", {1, 0, kEdx, 13}},
    {"mca", {1, 0, kEdx, 14}},
    {"cmov", {1, 0, kEdx, 15}},
    {"pat", {1, 0, kEdx, 16}},
    {"pse36", {1, 0, kEdx, 17}},
    {"clflush", {1, 0, kEdx, 19}},
    {"mmx", {1, 0, kEdx, 23}},
    {"fxsr", {1, 0, kEdx, 24}},
    {"sse", {1, 0, kEdx, 25}},
    {"sse2", {1, 0, kEdx, 26}},
    {"ss", {1, 0, kEdx, 27}},
    {"ht", {1, 0, kEdx, 28}},
    {"sse3", {1, 0, kEcx, 0}},
    {"pclmulqdq", {1, 0, kEcx, 1}},
    {"monitor", {1, 0, kEcx, 3}},
    {"ssse3", {1, 0, kEcx, 9}},
    {"fma", {1, 0, kEcx, 12}, "avx"},
    {"cx16", {1, 0, kEcx, 13}},
    {"pcid", {1, 0, kEcx, 17}},
    {"sse4.1", {1, 0, kEcx, 19}},
    {"sse4.2", {1, 0, kEcx, 20}},
    {"x2apic", {1, 0, kEcx, 21}},
    {"movbe", {1, 0, kEcx, 22}},
    {"popcnt", {1, 0, kEcx, 23}},
    {"tsc-deadline", {1, 0, kEcx, 24}},
    {"aes", {1, 0, kEcx, 25}},
    {"xsave", {1, 0, kEcx, 26}},
    {"avx", {1, 0, kEcx, 28}, "xsave"},
    {"f16c", {1, 0, kEcx, 29}, "avx"},
    {"rdrand", {1, 0, kEcx, 30}},
    {"hypervisor", {1, 0, kEcx, 31}},
    {"fsgsbase", {7, 0, kEbx, 0}},
    {"tsc-adjust", {7, 0, kEbx, 1}},
    {"bmi1", {7, 0, kEbx, 3}},
    {"avx2", {7, 0, kEbx, 5}, "avx"},
    {"smep", {7, 0, kEbx, 7}},
    {"bmi2", {7, 0, kEbx, 8}},
    {"erms", {7, 0, kEbx, 9}},
    {"invpcid", {7, 0, kEbx, 10}, "pcid"},
    {"rdseed", {7, 0, kEbx, 18}},
    {"adx", {7, 0, kEbx, 19}},
    {"smap", {7, 0, kEbx, 20}},
    {"clflushopt", {7, 0, kEbx, 23}},
    {"clwb", {7, 0, kEbx, 24}},
    {"sha-ni", {7, 0, kEbx, 29}},
    {"umip", {7, 0, kEcx, 2}},
    {"pku", {7, 0, kEcx, 3}, "xsave"},
    {"gfni", {7, 0, kEcx, 8}},
    {"vaes", {7, 0, kEcx, 9}, "avx"},
    {"vpclmulqdq", {7, 0, kEcx, 10}, "avx"},
    {"la57", {7, 0, kEcx, 16}},
    {"rdpid", {7, 0, kEcx, 22}},
    {"fsrm", {7, 0, kEdx, 4}},
    {"spec-ctrl", {7, 0, kEdx, 26}},
    {"stibp", {7, 0, kEdx, 27}},
    {"arch-capabilities", {7, 0, kEdx, 29}},
    {"ssbd", {7, 0, kEdx, 31}},
    {"xsaveopt", {0xd, 1, kEax, 0}, "xsave"},
    {"xsavec", {0xd, 1, kEax, 1}, "xsave"},
    {"xgetbv1", {0xd, 1, kEax, 2}, "xsave"},
    {"xsaves", {0xd, 1, kEax, 3}, "xsave"},
    {"lahf-lm", {0x8000'0001, 0, kEcx, 0}},
    {"cmp-legacy", {0x8000'0001, 0, kEcx, 1}},
    {"svm", {0x8000'0001, 0, kEcx, 2}},
    {"cr8legacy", {0x8000'0001, 0, kEcx, 4}},
    {"abm", {0x8000'0001, 0, kEcx, 5}},
    {"sse4a", {0x8000'0001, 0, kEcx, 6}},
    {"misalignsse", {0x8000'0001, 0, kEcx, 7}},
    {"3dnowprefetch", {0x8000'0001, 0, kEcx, 8}},
    {"topoext", {0x8000'0001, 0, kEcx, 22}},
    {"monitorx", {0x8000'0001, 0, kEcx, 29}},
    {"syscall", {0x8000'0001, 0, kEdx, 11}},
    {"nx", {0x8000'0001, 0, kEdx, 20}},
    {"mmxext", {0x8000'0001, 0, kEdx, 22}},
    {"fxsr-opt", {0x8000'0001, 0, kEdx, 25}},
    {"pdpe1gb", {0x8000'0001, 0, kEdx, 26}},
    {"rdtscp", {0x8000'0001, 0, kEdx, 27}},
    {"lm", {0x8000'0001, 0, kEdx, 29}},
    {"invtsc", {0x8000'0007, 0, kEdx, 8}},
    {"clzero", {0x8000'0008, 0, kEbx, 0}},
    {"wbnoinvd", {0x8000'0008, 0, kEbx, 9}},
    {"ibpb", {0x8000'0008, 0, kEbx, 12}},
};

bool same_name(std::string_view a, std::string_view b) {
  const auto plain = [](char c) { return c == '_' || c == '.' ? '-' : c; };
  return std::ranges::equal(a, b, {}, plain, plain);
}

}  // namespace

std::span<const NamedFeature> named_features() { return kFeatures; }

const NamedFeature* find_feature(std::string_view name) {
  const auto* at = std::ranges::find_if(
      kFeatures, [&](const NamedFeature& f) { return same_name(f.name, name); });
  return at == std::end(kFeatures) ? nullptr : at;
}

}  // namespace menura::x86
