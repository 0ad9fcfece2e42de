// KvmSystem: /dev/kvm opened and asked what it can do.
//
// Owner: the accelerator. Threads: constant after open(). Errors say what the user can do: load a
// module, join a group. Source: Linux Documentation/virt/kvm/api.rst (API version 12).
// Example: `KvmSystem system = TRY(KvmSystem::open("/dev/kvm", ioctls));`
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "accel/accelerator.h"
#include "accel/kvm/kvm_ioctl.h"
#include "base/result.h"

namespace menura {

class KvmSystem {
 public:
  static Result<KvmSystem> open(const std::string& path, KvmIoctl& ioctls);

  const KvmFd& fd() const { return fd_; }
  // KVM_CHECK_EXTENSION of KVM_CAP_x, from the table read at open; 0 for capabilities that menura
  // does not know.
  int capability(int number) const;
  bool has(int number) const { return capability(number) > 0; }
  // The whole table, for people.
  std::vector<Capability> capabilities() const;

  size_t run_size() const { return run_size_; }  // bytes of a vCPU's shared page and its rings
  const std::vector<kvm_cpuid_entry2>& cpuid() const { return cpuid_; }
  const std::vector<u32>& msrs() const { return msrs_; }  // KVM_GET_MSR_INDEX_LIST
  // Index and value of the MSRs that tell what a guest's processor can have.
  const std::vector<std::pair<u32, u64>>& feature_msrs() const { return feature_msrs_; }
  u64 mce_capabilities() const { return mce_capabilities_; }  // bits of IA32_MCG_CAP
  // Machine check banks, as many as x86::State has.
  u64 mce_banks() const {
    return std::min<u64>(static_cast<u64>(capability(KVM_CAP_MCE)), x86::kMceBanks);
  }
  // Leaves 4000_0000h-4000_00FFh as Hyper-V defines them; empty where KVM has none.
  const std::vector<kvm_cpuid_entry2>& hyperv_cpuid() const { return hyperv_cpuid_; }
  // KVM interprets the kernel's code here (kvm_pvm) rather than running it: no SSE3 is offered.
  // Tests that need real hardware ask.
  bool interprets_kernel_code() const;

 private:
  Result<void> read_capabilities();
  Result<void> read_lists();
  Result<void> read_feature_msrs();

  KvmFd fd_;
  std::vector<int> values_;  // parallel to the table of capabilities
  size_t run_size_ = 0;
  std::vector<kvm_cpuid_entry2> cpuid_;
  std::vector<kvm_cpuid_entry2> hyperv_cpuid_;
  std::vector<u32> msrs_;
  std::vector<std::pair<u32, u64>> feature_msrs_;
  u64 mce_capabilities_ = 0;
};

// The entries of a KVM_GET_*_CPUID ioctl, whose table grows until the kernel is content.
Result<std::vector<kvm_cpuid_entry2>> read_cpuid_table(const KvmFd& fd, unsigned long request);

}  // namespace menura
