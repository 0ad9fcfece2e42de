// KvmVm: one virtual machine in the kernel, before and around its vCPUs: its fixed addresses, chips
// and options, the vCPUs alive and those parked.
//
// Owner: the accelerator. Threads: under the machine lock; what vCPU threads use is marked.
// A vCPU's descriptor outlives its unplugging: KVM cannot remove vCPUs, so it waits for the next one
// with its APIC ID. Example: `auto vm = TRY(KvmVm::create(system, options));`
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "accel/kvm/kvm_options.h"
#include "accel/kvm/kvm_run_gate.h"
#include "accel/kvm/kvm_system.h"

namespace menura {

class KvmVcpu;

// A vCPU's descriptor, with the CPUID it was given: KVM refuses another one once it has run.
struct KvmVcpuFd {
  KvmFd fd;
  std::vector<kvm_cpuid_entry2> cpuid;  // empty: none yet
};

class KvmVm {
 public:
  // The last pages below 16 MiB under 4 GiB, which PC firmware keeps free for KVM: one page of
  // identity map, three of task state segment.
  static constexpr u64 kIdentityMapAddress = 0xfeff'c000;
  static constexpr u64 kTssAddress = 0xfeff'd000;
  static constexpr unsigned kIoapicPins = 24;

  static Result<std::unique_ptr<KvmVm>> create(const KvmSystem& system, const KvmOptions& options);
  ~KvmVm();

  const KvmSystem& system() const { return system_; }
  const KvmOptions& options() const { return options_; }
  const KvmFd& fd() const { return fd_; }
  KvmRunGate& gate() { return gate_; }

  // The vCPU with this id (its APIC ID), new or parked. Any thread.
  Result<KvmVcpuFd> take_vcpu(u32 id);
  void park_vcpu(u32 id, KvmVcpuFd vcpu);
  size_t parked_vcpus() const;
  // The live ones. Any thread; for_each holds off unplugging meanwhile.
  void add(KvmVcpu& vcpu);
  void remove(KvmVcpu& vcpu);
  void for_each_vcpu(const std::function<void(KvmVcpu&)>& visit) const;

  // Something that the guest cannot go on without has failed: every run() ends with this text. The
  // first one is kept. Any thread.
  void fail_machine(Error error);
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  std::string failure() const;

 private:
  KvmVm(const KvmSystem& system, KvmOptions options, KvmFd fd);
  Result<void> set_up_memory();
  Result<void> set_up_dirty_ring();
  Result<void> set_up_irqchip();
  Result<void> set_up_pit();
  Result<void> set_up_notify_exit();
  Result<void> enable(u32 capability, u64 argument, std::string_view what);

  // Configuration
  const KvmSystem& system_;
  const KvmOptions options_;

  // State
  KvmFd fd_;
  KvmRunGate gate_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<u32, KvmVcpuFd> parked_;
  std::vector<KvmVcpu*> vcpus_;
  std::string failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace menura
