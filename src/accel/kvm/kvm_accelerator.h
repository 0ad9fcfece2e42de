// KvmAccelerator: the host's KVM as an Accelerator: everything in this room put together.
//
// Owner: the machine; its vCPUs go first. Threads: see accel/accelerator.h. Listens to both address
// spaces of its context from create() on. Example:
//   auto kvm = TRY(KvmAccelerator::create(context, {.irqchip = IrqchipMode::Split}));
//   auto cpu = TRY(VcpuThread::start(*kvm, lock, {.name = "CPU 0/KVM", .vcpu = {...}}));
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "accel/kvm/kvm_coalesced.h"
#include "accel/kvm/kvm_io_events.h"
#include "accel/kvm/kvm_irqchip.h"
#include "accel/kvm/kvm_options.h"
#include "accel/kvm/kvm_slots.h"
#include "accel/kvm/kvm_system.h"
#include "accel/kvm/kvm_vcpu.h"
#include "accel/kvm/kvm_vm.h"
#include "event/tape.h"
#include "event/timer.h"

namespace menura {

// For `info kvm`.
struct KvmInfo {
  std::vector<Capability> capabilities;
  std::vector<std::pair<u32, u64>> feature_msrs;
  std::vector<KvmSlot> slots;
  std::vector<KvmSlot> smm_slots;
  std::vector<KvmCount> exits;   // of all live vCPUs, by reason
  std::vector<KvmCount> ioctls;  // since the start
  size_t parked_vcpus = 0;
  size_t routes = 0;
  size_t doorbells = 0;
  u64 coalesced_writes = 0;
};
std::string print_kvm_info(const KvmInfo& info);

class KvmPit;

class KvmAccelerator final : public Accelerator {
 public:
  // `clocks` date the counts of in-kernel timers.
  struct Clocks {
    Tape& tape;
    TimerQueue& time;
  };
  static Result<std::unique_ptr<KvmAccelerator>> create(
      const AcceleratorContext& context, const Clocks& clocks, const KvmOptions& options,
      std::unique_ptr<KvmIoctl> ioctls = std::make_unique<KvmIoctl>());
  ~KvmAccelerator() override;

  std::string_view name() const override { return "kvm"; }
  IrqchipMode irqchip_mode() const override { return vm_->options().irqchip; }
  KernelIrqchip* kernel_irqchip() override { return irqchip_.get(); }
  IrqSink* kernel_pit() override;
  std::vector<Capability> capabilities() const override { return system_.capabilities(); }
  std::vector<CpuidEntry> supported_cpuid() const override { return offer_; }
  u64 tsc_khz() const override;
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig& config) override;
  std::vector<Device*> devices() override;
  bool has_smm() const override;
  void sync_dirty() override;

  KvmInfo info() const;
  const KvmSystem& system() const { return system_; }
  KvmVm& vm() { return *vm_; }

 private:
  KvmAccelerator(const AcceleratorContext& context, const Clocks& clocks,
                 std::unique_ptr<KvmIoctl> ioctls, KvmSystem system);
  Result<void> start(const KvmOptions& options);
  void make_devices();

  // Configuration
  AcceleratorContext context_;
  const Clocks clocks_;
  std::unique_ptr<KvmIoctl> ioctls_;
  KvmSystem system_;
  std::vector<CpuidEntry> offer_;
  std::vector<CpuidEntry> paravirt_;

  // Wiring: in the order of their dependence
  std::unique_ptr<KvmVm> vm_;
  std::unique_ptr<KvmCoalesced> coalesced_;
  std::unique_ptr<KvmSlots> slots_;
  std::unique_ptr<KvmSlots> smm_slots_;  // with SMM
  std::unique_ptr<KvmIoEvents> memory_events_;
  std::unique_ptr<KvmIoEvents> port_events_;
  std::unique_ptr<KvmIrqchip> irqchip_;
  std::vector<std::unique_ptr<Device>> devices_;
  KvmPit* pit_ = nullptr;  // one of them, if asked for
  mutable u64 tsc_khz_ = 0;
};

}  // namespace menura
