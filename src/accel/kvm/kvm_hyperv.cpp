#include "accel/kvm/kvm_hyperv.h"

#include <algorithm>
#include <array>

#include "accel/kvm/kvm_cpuid.h"
#include "base/text.h"

namespace menura {

namespace {

using Register = u32 CpuidEntry::*;

struct Bit {
  u32 leaf;
  Register reg;
  u32 mask;
};
struct Feature {
  std::string_view name;
  std::array<Bit, 2> bits;
  std::string_view needs = {};  // others, separated by spaces
};

constexpr u32 kFeatures = 0x4000'0003;
constexpr u32 kAdvice = 0x4000'0004;
constexpr Register kEax = &CpuidEntry::eax, kEdx = &CpuidEntry::edx;
constexpr Bit kNone{0, kEax, 0};

// §2.4.4 (privileges and features) and §2.4.5 (recommendations).
constexpr Feature kTable[] = {
    {"hv-relaxed", {{{kAdvice, kEax, 1u << 5}, kNone}}},
    {"hv-vapic", {{{kFeatures, kEax, 1u << 4}, {kAdvice, kEax, 1u << 3}}}},
    {"hv-time", {{{kFeatures, kEax, 1u << 1 | 1u << 9}, kNone}}},
    {"hv-vpindex", {{{kFeatures, kEax, 1u << 6}, kNone}}},
    {"hv-runtime", {{{kFeatures, kEax, 1u << 0}, kNone}}},
    {"hv-crash", {{{kFeatures, kEdx, 1u << 10}, kNone}}},
    {"hv-reset", {{{kFeatures, kEax, 1u << 7}, kNone}}},
    {"hv-synic", {{{kFeatures, kEax, 1u << 2}, kNone}}, "hv-vpindex"},
    {"hv-stimer", {{{kFeatures, kEax, 1u << 3}, kNone}}, "hv-synic hv-time"},
    {"hv-stimer-direct", {{{kFeatures, kEdx, 1u << 19}, kNone}}, "hv-stimer"},
    {"hv-frequencies", {{{kFeatures, kEax, 1u << 11}, {kFeatures, kEdx, 1u << 8}}}},
    {"hv-reenlightenment", {{{kFeatures, kEax, 1u << 13}, kNone}}},
    {"hv-tlbflush", {{{kAdvice, kEax, 1u << 2 | 1u << 11}, kNone}}, "hv-vpindex"},
    {"hv-ipi", {{{kAdvice, kEax, 1u << 10 | 1u << 11}, kNone}}, "hv-vpindex"},
    {"hv-avic", {{{kAdvice, kEax, 1u << 9}, kNone}}},
    {"hv-xmm-input", {{{kFeatures, kEdx, 1u << 4}, kNone}}},
};
constexpr u32 kHypercallMsrs = 1u << 5;

const Feature* find_feature(std::string_view name) {
  const auto at = std::ranges::find_if(kTable, [&](const Feature& f) { return f.name == name; });
  return at == std::end(kTable) ? nullptr : at;
}

bool offers(const KvmSystem& system, const Bit& bit) {
  u32 offered = 0;
  for (const kvm_cpuid_entry2& k : system.hyperv_cpuid()) {
    if (k.function != bit.leaf) continue;
    const CpuidEntry entry{.eax = k.eax, .ebx = k.ebx, .ecx = k.ecx, .edx = k.edx};
    offered |= entry.*bit.reg;
  }
  return (offered & bit.mask) == bit.mask;
}

bool offers(const KvmSystem& system, const Feature& feature) {
  return std::ranges::all_of(feature.bits, [&](const Bit& bit) { return offers(system, bit); });
}

Result<void> add_feature(const KvmSystem& system, const KvmOptions& options, std::string_view name,
                         std::vector<CpuidEntry>& leaves) {
  const Feature* feature = find_feature(name);
  if (!feature)
    return fail(Errc::InvalidArgument, "There is no Hyper-V enlightenment '{}'{}", name,
                suggestion(name, hyperv_features()));
  if (!offers(system, *feature))
    return fail(Errc::Unsupported, "This host's KVM does not offer the enlightenment '{}'", name);
  if (!feature->needs.empty())
    for (const std::string_view needed : split(feature->needs, ' '))
      if (std::ranges::find(options.hyperv, needed) == options.hyperv.end())
        return fail(Errc::InvalidArgument, "The enlightenment '{}' needs '{}'", name, needed);
  for (const Bit& bit : feature->bits)
    for (CpuidEntry& leaf : leaves)
      if (leaf.leaf == bit.leaf) leaf.*bit.reg |= bit.mask;
  return {};
}

}  // namespace

bool wants_hyperv(const KvmOptions& options) {
  return !options.hyperv.empty() || options.hyperv_spinlocks != KvmOptions::kSpinForEver;
}

Result<std::vector<CpuidEntry>> hyperv_cpuid(const KvmSystem& system, const KvmOptions& options) {
  constexpr u32 kInterface = 0x3123'7648;  // "Hv#1"
  const std::string& vendor = options.hyperv_vendor;
  if (vendor.size() > 12)
    return fail(Errc::InvalidArgument, "A Hyper-V vendor has at most twelve letters, not '{}'",
                vendor);
  std::vector<CpuidEntry> leaves{
      signature_leaf(0x4000'0000, 0x4000'0005, vendor),
      {.leaf = 0x4000'0001, .eax = kInterface},
      {.leaf = 0x4000'0002, .eax = 0x3839, .ebx = 0x000a'0000},  // a build of Windows 10's Hyper-V
      {.leaf = kFeatures, .eax = kHypercallMsrs},
      {.leaf = kAdvice, .ebx = options.hyperv_spinlocks},
      {.leaf = 0x4000'0005, .eax = 0xffff'ffff, .ebx = 64}};  // no limit of CPUs; 64 logical ones
  for (const std::string& name : options.hyperv) TRY(add_feature(system, options, name, leaves));
  return leaves;
}

std::vector<std::string_view> hyperv_features() {
  std::vector<std::string_view> names;
  for (const Feature& feature : kTable) names.push_back(feature.name);
  return names;
}

std::vector<std::string_view> offered_hyperv_features(const KvmSystem& system) {
  std::vector<std::string_view> names;
  for (const Feature& feature : kTable)
    if (offers(system, feature)) names.push_back(feature.name);
  return names;
}

}  // namespace menura
