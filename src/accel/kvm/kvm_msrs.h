// The model-specific registers that x86::State carries, as KVM keeps them.
//
// Owner: a vCPU's registers. Threads: the vCPU's. An MSR that this KVM does not know is left out at
// once; one that it refuses to read or set is reported once and left at its default: never fatal.
// Example: `KvmMsrs msrs(system);  msrs.read(vcpu_fd, state);  msrs.write(vcpu_fd, state, &before);`
#pragma once

#include <set>
#include <vector>

#include "accel/kvm/kvm_ioctl.h"
#include "accel/kvm/kvm_system.h"
#include "cpu/x86/state.h"

namespace menura {

struct KvmMsrValue {
  u32 index = 0;
  u64 value = 0;
  void describe(StateVisitor& v);
};

class KvmMsrs {
 public:
  explicit KvmMsrs(const KvmSystem& system);

  void read(const KvmFd& vcpu, x86::State& state);
  // Those that differ from `before`; all without it.
  void write(const KvmFd& vcpu, const x86::State& state, const x86::State* before);

  void set_one(const KvmFd& vcpu, u32 index, u64 value);

  // Registers that KVM saves but x86::State does not name, for complete snapshots.
  std::vector<KvmMsrValue> read_others(const KvmFd& vcpu);
  void write_others(const KvmFd& vcpu, const std::vector<KvmMsrValue>& values);

  // Those that KVM would not set, at least once.
  const std::set<u32>& refused() const { return refused_; }

 private:
  // Passes over those that the kernel refuses, noting each; the rest arrive in values.
  void get(const KvmFd& vcpu, std::vector<kvm_msr_entry>& values);
  void set(const KvmFd& vcpu, std::vector<kvm_msr_entry> values);

  struct Row {
    u32 index;
    size_t offset;  // of the u64 inside x86::State
  };
  std::vector<Row> rows_;
  std::vector<u32> others_;
  std::set<u32> unreadable_;
  std::set<u32> refused_;
};

}  // namespace menura
