// KvmVcpu: one virtual CPU in the kernel: its run loop, its exits, its registers read once between
// two runs.
//
// Owner: its VcpuThread, which makes, runs and destroys it on one host thread; SIGUSR1 is blocked
// there for good, and unblocked by KVM_RUN alone, so that a kick interrupts nothing else. Threads:
// run() on that thread without the machine lock; get(), set() and set_debug() there or while it is
// paused; kick() and the CpuInterrupts from any. Example: see accel/vcpu_thread.h.
#pragma once

#include <pthread.h>
#include "accel/kvm/kvm_abi.h"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "accel/kvm/kvm_coalesced.h"
#include "accel/kvm/kvm_irqchip.h"
#include "accel/kvm/kvm_registers.h"
#include "accel/kvm/kvm_slots.h"
#include "accel/kvm/kvm_vm.h"
#include "event/timer.h"

namespace menura {

// What a vCPU meets while it runs.
struct KvmEnvironment {
  KvmVm& vm;
  AddressSpace& memory;
  AddressSpace* smm;  // null: no SMM
  AddressSpace& io;
  MachineLock& lock;
  KvmCoalesced& coalesced;
  KvmSlots& slots;
  KvmIrqchip* irqchip;  // null in user mode
  TimerQueue& time;
};

class KvmVcpu final : public Vcpu {
 public:
  static constexpr size_t kExitReasons = 64;

  static Result<std::unique_ptr<KvmVcpu>> create(const KvmEnvironment& environment,
                                                 const VcpuConfig& config,
                                                 const std::vector<kvm_cpuid_entry2>& cpuid);
  ~KvmVcpu() override;

  Exit run() override;
  void kick() override;
  std::string failure() const override { return failure_; }
  void get(x86::State& state) override;
  void set(const x86::State& state) override;
  Result<void> set_debug(const DebugControl& control) override;

  void set_intr(bool pending) override;
  void nmi() override;
  void smi() override;
  void init() override;
  void sipi(u8 vector) override;

  // What set() left to be written, now rather than at the next run.
  Result<void> flush();
  void fail_machine(Error error) { environment_.vm.fail_machine(std::move(error)); }
  // Its LAPIC (unless in user space) and the MSRs beyond x86::State, for reset and saved state.
  const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }
  const VcpuConfig& config() const { return config_; }
  const KvmFd& fd() const { return fd_; }
  KvmMsrs& msrs() { return registers_->msrs(); }
  u64 tsc_khz() const { return tsc_khz_; }
  // Exits since the start by KVM_EXIT_x, for `info kvm`. Any thread.
  u64 exit_count(size_t reason) const { return exits_[reason].load(std::memory_order_relaxed); }
  static std::string_view exit_name(size_t reason);
  // The physical address and debug registers of the last Exit::Debug.
  const kvm_debug_exit_arch& debug_exit() const { return debug_exit_; }
  // Takes the entries of this vCPU's dirty ring. Under the machine lock.
  void harvest_dirty_ring(const std::function<void(u32 slot, u64 page)>& visit);

 private:
  enum class Next : u8 { Again, Return };

  KvmVcpu(const KvmEnvironment& environment, const VcpuConfig& config, KvmVcpuFd fd);
  Result<void> set_up(const std::vector<kvm_cpuid_entry2>& cpuid);
  Result<void> set_cpuid(const std::vector<kvm_cpuid_entry2>& cpuid);
  Result<void> set_up_mce();
  Result<void> set_up_synic();
  Result<void> set_up_signals();
  Result<void> set_tsc_frequency();
  Result<void> map_dirty_ring();

  // The run loop; Return means that result_ holds the answer of run().
  Next before_run();
  Next after_run(int value, int os_errno);
  Next handle_exit();
  Next give(Exit exit);
  Next give_failure(std::string text);
  bool take_events();  // INIT, SIPI, halt: true when the CPU must not run now
  void take_init();
  void take_sipi(u8 vector);
  void inject_interrupt();
  void follow_lapic();  // CR8 and APIC base, after an exit
  bool may_wake() const;

  // Exits, in kvm_exit.cpp.
  void do_port_io();
  void do_mmio();
  void do_msr_read();
  void do_msr_write();
  Next do_system_event();
  Next do_hyperv();
  Next do_notify();
  std::string describe_internal_error();
  std::string describe_where();

  void interrupt();  // makes KVM_RUN return, also one about to begin
  void attend();     // after an event was noted: interrupt and wake
  bool user_lapic() const { return environment_.irqchip == nullptr; }

  // Configuration
  const KvmEnvironment environment_;
  VcpuConfig config_;
  u32 signature_ = 0;
  u64 tsc_khz_ = 0;

  // Wiring
  KvmFd fd_;
  std::vector<kvm_cpuid_entry2> cpuid_;  // as KVM has it
  kvm_run* run_ = nullptr;
  kvm_dirty_gfn* ring_ = nullptr;
  u32 ring_next_ = 0;
  pthread_t thread_;
  KvmRunGate::Member gate_member_;

  // State
  std::unique_ptr<KvmRegisters> registers_;
  std::vector<std::unique_ptr<Device>> devices_;
  x86::State state_;
  bool known_ = false;      // kernel_ is what the kernel holds
  bool unwritten_ = false;  // state_ differs from it
  x86::State kernel_;
  x86::Activity activity_ = x86::Activity::Running;  // with a LAPIC in user space
  bool completing_ = false;     // an access to a device waits for KVM_RUN to take its result
  bool injectable_ = false;     // KVM's word on it is newer than the last change of state
  bool interrupts_on_ = false;  // RFLAGS.IF, as far as known
  u8 cr8_ = 0;
  u64 apic_base_ = 0;
  Exit result_ = Exit::Kicked;
  std::string failure_;
  kvm_debug_exit_arch debug_exit_{};
  std::array<std::atomic<u64>, kExitReasons> exits_{};

  // Set from any thread.
  std::atomic<bool> kicked_{false};
  std::atomic<bool> intr_{false};
  std::atomic<bool> nmi_{false};
  std::atomic<bool> smi_{false};
  std::atomic<bool> init_{false};
  std::atomic<int> sipi_{-1};
};

}  // namespace menura
