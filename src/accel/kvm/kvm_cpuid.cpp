#include "accel/kvm/kvm_cpuid.h"

#include <algorithm>

#include "accel/kvm/kvm_hyperv.h"
#include "base/bits.h"
#include "base/text.h"

namespace menura {

namespace {

enum Register : u8 { Eax, Ebx, Ecx, Edx };

u32& reg(CpuidEntry& entry, Register r) {
  switch (r) {
    case Eax: return entry.eax;
    case Ebx: return entry.ebx;
    case Ecx: return entry.ecx;
    case Edx: break;
  }
  return entry.edx;
}

struct FeatureWord {
  u32 leaf;
  std::optional<u32> subleaf;
  Register reg;
  u32 uncarried;  // features whose state x86::State has no place for
  u32 free = 0;   // bits that only describe the topology: any guest may have them
};

// The words that list features, bit by bit.
constexpr FeatureWord kFeatureWords[] = {
    {1, {}, Ecx, 0},
    {1, {}, Edx, 0, 1u << 28},  // HTT
    {6, {}, Eax, 0},
    {7, 0, Ebx, 1u << 14 | 1u << 25},                                  // MPX, PT
    {7, 0, Ecx, 1u << 7},                                              // CET shadow stacks
    {7, 0, Edx, 1u << 5 | 1u << 20 | 1u << 22 | 1u << 24 | 1u << 25},  // UINTR, CET IBT, AMX
    {7, 1, Eax, 1u << 17 | 1u << 21},                                  // FRED, AMX-FP16
    {7, 1, Edx, 0},
    {0xd, 0, Eax, ~u32{0xe7 | 1u << 9}},  // XCR0: x87, SSE, AVX, AVX-512, PKRU
    {0xd, 0, Edx, ~u32{0}},
    {0xd, 1, Eax, 1u << 4},  // XFD
    {0xd, 1, Ecx, ~u32{0}},  // supervisor components
    {0xd, 1, Edx, ~u32{0}},
    {0x8000'0001, {}, Ecx, 0, 1u << 1},  // CmpLegacy
    {0x8000'0001, {}, Edx, 0},
    {0x8000'0007, {}, Edx, 0},
    {0x8000'0008, {}, Ebx, 0},
    {0x8000'000a, {}, Edx, 0},
    {0x8000'0021, {}, Eax, 0},
};

constexpr u32 kEcxX2apic = 1u << 21;
constexpr u32 kEcxTscDeadline = 1u << 24;
constexpr u32 kEcxHypervisor = 1u << 31;
constexpr u32 kHypervisorLeaves = 0x4000'0000;

bool is_hypervisor_leaf(u32 leaf) { return (leaf & 0xffff'0000) == kHypervisorLeaves; }

const CpuidEntry* find_entry(const std::vector<CpuidEntry>& table, u32 leaf,
                             std::optional<u32> subleaf) {
  const auto at = std::ranges::find_if(table, [&](const CpuidEntry& e) {
    return e.leaf == leaf && e.subleaf.value_or(0) == subleaf.value_or(0);
  });
  return at == table.end() ? nullptr : &*at;
}

CpuidEntry from_kernel(const kvm_cpuid_entry2& k) {
  CpuidEntry entry{.leaf = k.function, .eax = k.eax, .ebx = k.ebx, .ecx = k.ecx, .edx = k.edx};
  if (k.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) entry.subleaf = k.index;
  return entry;
}

kvm_cpuid_entry2 to_kernel(const CpuidEntry& entry) {
  kvm_cpuid_entry2 k{};
  k.function = entry.leaf;
  k.index = entry.subleaf.value_or(0);
  k.flags = entry.subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
  k.eax = entry.eax, k.ebx = entry.ebx, k.ecx = entry.ecx, k.edx = entry.edx;
  return k;
}

struct KvmFeature {
  std::string_view name;
  u32 bits;  // of 4000_0001h's EAX
};
constexpr KvmFeature kKvmFeatures[] = {{"kvmclock", 1u << 0 | 1u << 3},
                                       {"kvm-nopiodelay", 1u << 1},
                                       {"kvm-mmu", 1u << 2},
                                       {"kvm-asyncpf", 1u << 4},
                                       {"kvm-steal-time", 1u << 5},
                                       {"kvm-pv-eoi", 1u << 6},
                                       {"kvm-pv-unhalt", 1u << 7},
                                       {"kvm-pv-tlb-flush", 1u << 9},
                                       {"kvm-asyncpf-vmexit", 1u << 10},
                                       {"kvm-pv-ipi", 1u << 11},
                                       {"kvm-poll-control", 1u << 12},
                                       {"kvm-pv-sched-yield", 1u << 13},
                                       {"kvm-asyncpf-int", 1u << 14},
                                       {"kvm-msi-ext-dest-id", 1u << 15},
                                       {"kvmclock-stable-bit", 1u << 24}};

// What the user wants of KVM's features, over what it offers.
Result<u32> chosen_features(u32 offered, const KvmOptions& options) {
  u32 chosen = offered;
  for (const auto& [name, on] : options.features) {
    const auto feature = std::ranges::find(kKvmFeatures, name, &KvmFeature::name);
    if (feature == std::end(kKvmFeatures))
      return fail(Errc::InvalidArgument, "There is no feature '{}' of KVM{}", name,
                  suggestion(name, kvm_feature_names()));
    if (on && (offered & feature->bits) == 0)
      return fail(Errc::Unsupported, "This host's KVM does not offer the feature '{}'", name);
    chosen = on ? chosen | (offered & feature->bits) : chosen & ~feature->bits;
  }
  return chosen;
}

// KVM features that rest on a LAPIC in the kernel.
constexpr u32 kLapicFeatures =
    1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 11 | 1u << 13 | 1u << 14 | 1u << 15;

void filter(std::vector<CpuidEntry>& table, const std::vector<CpuidEntry>& offer) {
  for (const FeatureWord& word : kFeatureWords) {
    const CpuidEntry* allowed = find_entry(offer, word.leaf, word.subleaf);
    CpuidEntry mask = allowed ? *allowed : CpuidEntry{};
    for (CpuidEntry& entry : table)
      if (entry.leaf == word.leaf && entry.subleaf.value_or(0) == word.subleaf.value_or(0))
        reg(entry, word.reg) &= reg(mask, word.reg) | word.free;
  }
}

void set_apic_id(std::vector<CpuidEntry>& table, u32 apic_id) {
  for (CpuidEntry& entry : table) {
    if (entry.leaf == 1) entry.ebx = with_bits(entry.ebx, 31, 24, apic_id);
    if (entry.leaf == 0xb || entry.leaf == 0x1f) entry.edx = apic_id;
    if (entry.leaf == 0x8000'001e) entry.eax = apic_id;
  }
}

}  // namespace

std::vector<CpuidEntry> offered_cpuid(const KvmSystem& system, const KvmOptions& options) {
  std::vector<CpuidEntry> offer;
  for (const kvm_cpuid_entry2& k : system.cpuid())
    if (!is_hypervisor_leaf(k.function)) offer.push_back(from_kernel(k));
  for (const FeatureWord& word : kFeatureWords)
    for (CpuidEntry& entry : offer)
      if (entry.leaf == word.leaf && entry.subleaf.value_or(0) == word.subleaf.value_or(0))
        reg(entry, word.reg) &= ~word.uncarried;
  const bool user = options.irqchip == IrqchipMode::User;
  for (CpuidEntry& entry : offer) {
    if (entry.leaf != 1) continue;
    entry.ecx |= kEcxHypervisor;
    // The list does not know where the LAPIC will be.
    const bool deadline = !user && system.has(KVM_CAP_TSC_DEADLINE_TIMER);
    const bool x2apic = !user || system.has(KVM_CAP_X86_USER_SPACE_MSR);
    entry.ecx = deadline ? entry.ecx | kEcxTscDeadline : entry.ecx & ~kEcxTscDeadline;
    entry.ecx = x2apic ? entry.ecx | kEcxX2apic : entry.ecx & ~kEcxX2apic;
  }
  return offer;
}

CpuidEntry signature_leaf(u32 leaf, u32 highest, std::string_view text) {
  u32 words[3] = {};
  for (size_t i = 0; i < std::min<size_t>(text.size(), 12); i++)
    words[i / 4] |= static_cast<u32>(static_cast<u8>(text[i])) << (8 * (i % 4));
  return {.leaf = leaf, .eax = highest, .ebx = words[0], .ecx = words[1], .edx = words[2]};
}

std::vector<std::string_view> kvm_feature_names() {
  std::vector<std::string_view> names;
  for (const KvmFeature& feature : kKvmFeatures) names.push_back(feature.name);
  return names;
}

Result<std::vector<CpuidEntry>> paravirt_cpuid(const KvmSystem& system, const KvmOptions& options) {
  std::vector<CpuidEntry> leaves;
  if (wants_hyperv(options)) leaves = TRY(hyperv_cpuid(system, options));
  if (!options.expose) return leaves;
  const u32 base = leaves.empty() ? kHypervisorLeaves : kHypervisorLeaves + 0x100;
  CpuidEntry features{.leaf = base + 1};
  for (const kvm_cpuid_entry2& k : system.cpuid()) {
    if (k.function != kHypervisorLeaves + 1) continue;
    features.eax = options.irqchip == IrqchipMode::User ? k.eax & ~kLapicFeatures : k.eax;
    features.edx = k.edx;
  }
  features.eax = TRY(chosen_features(features.eax, options));
  leaves.push_back(signature_leaf(base, base + 1, "KVMKVMKVM"));
  leaves.push_back(features);
  return leaves;
}

std::vector<kvm_cpuid_entry2> vcpu_cpuid(const VcpuConfig& config,
                                         const std::vector<CpuidEntry>& offer,
                                         const std::vector<CpuidEntry>& paravirt) {
  std::vector<CpuidEntry> table = config.cpuid.empty() ? offer : config.cpuid;
  std::erase_if(table, [](const CpuidEntry& e) { return is_hypervisor_leaf(e.leaf); });
  filter(table, offer);
  if (config.cpuid.empty()) set_apic_id(table, config.apic_id);
  table.insert(table.end(), paravirt.begin(), paravirt.end());
  std::vector<kvm_cpuid_entry2> result;
  for (const CpuidEntry& entry : table) result.push_back(to_kernel(entry));
  return result;
}

u32 cpu_signature(const std::vector<kvm_cpuid_entry2>& table) {
  for (const kvm_cpuid_entry2& entry : table)
    if (entry.function == 1) return entry.eax;
  return 0;
}

}  // namespace menura
