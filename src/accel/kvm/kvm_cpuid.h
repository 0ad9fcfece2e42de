// CPUID under KVM: what a guest may be offered, and the table that a vCPU gets.
//
// Owner: the accelerator. Threads: pure functions. Nothing is assumed of the host: the offer is what
// KVM_GET_SUPPORTED_CPUID says, less what x86::State cannot carry, and a guest's table never exceeds
// it. Source: Intel SDM vol. 2A (CPUID); Linux Documentation/virt/kvm/x86/cpuid.rst; Microsoft's
// Hypervisor Top Level Functional Specification v6.0b §2.4. Example:
//   auto offer = offered_cpuid(system, IrqchipMode::Kernel);
//   auto table = TRY(vcpu_cpuid(config, offer, TRY(paravirt_cpuid(system, options))));
#pragma once

#include <string_view>
#include <vector>

#include "accel/kvm/kvm_options.h"
#include "accel/kvm/kvm_system.h"

namespace menura {

// Without the hypervisor's own leaves.
std::vector<CpuidEntry> offered_cpuid(const KvmSystem& system, const KvmOptions& options);

// The hypervisor leaves 4000_0000h and up: Hyper-V's if any enlightenment is asked for, then KVM's
// (at 4000_0100h after Hyper-V's) unless hidden. Error: an enlightenment that does not exist or that
// this KVM lacks, by name; the same of KVM's own features.
Result<std::vector<CpuidEntry>> paravirt_cpuid(const KvmSystem& system, const KvmOptions& options);

// A hypervisor's first leaf: its highest one, and "KVMKVMKVM" or its like as EBX, ECX, EDX.
CpuidEntry signature_leaf(u32 leaf, u32 highest, std::string_view text);

// The names for KvmOptions::features.
std::vector<std::string_view> kvm_feature_names();

// The table for KVM_SET_CPUID2: the configured one (or all of the offer) limited to the offer's
// feature bits, with this CPU's APIC ID and the hypervisor's leaves.
std::vector<kvm_cpuid_entry2> vcpu_cpuid(const VcpuConfig& config,
                                         const std::vector<CpuidEntry>& offer,
                                         const std::vector<CpuidEntry>& paravirt);

// CPUID.1:EAX of a table; 0 when it has no leaf 1.
u32 cpu_signature(const std::vector<kvm_cpuid_entry2>& table);

}  // namespace menura
