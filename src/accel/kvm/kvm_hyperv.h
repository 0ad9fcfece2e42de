// Hyper-V's enlightenments as KVM carries them out: their names and their CPUID leaves.
//
// Owner: the accelerator. Threads: pure functions. Source: Microsoft's Hypervisor Top Level
// Functional Specification v6.0b §2.4; the names are QEMU's (-cpu host,hv-relaxed,hv-time).
// Example: `if (wants_hyperv(options)) leaves = TRY(hyperv_cpuid(system, options));`
#pragma once

#include <string_view>
#include <vector>

#include "accel/kvm/kvm_options.h"
#include "accel/kvm/kvm_system.h"

namespace menura {

bool wants_hyperv(const KvmOptions& options);

// The leaves from 4000_0000h up. Error: an enlightenment that does not exist, that this KVM lacks,
// or that needs another one, by name.
Result<std::vector<CpuidEntry>> hyperv_cpuid(const KvmSystem& system, const KvmOptions& options);

// The names for KvmOptions::hyperv: of all, and of those that this KVM offers.
std::vector<std::string_view> hyperv_features();
std::vector<std::string_view> offered_hyperv_features(const KvmSystem& system);

}  // namespace menura
