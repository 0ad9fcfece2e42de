#include "accel/kvm/kvm_vm.h"

#include <algorithm>
#include <cerrno>

#include "base/bits.h"
#include "base/log.h"
#include "memory/ram.h"

namespace menura {

namespace {

constexpr int kCreateAttempts = 100;  // KVM_CREATE_VM is interrupted by signals on loaded hosts

Result<int> create_vm(const KvmSystem& system) {
  for (int i = 0; i < kCreateAttempts; i++) {
    const int fd = system.fd().call(KVM_CREATE_VM);
    if (fd >= 0) return fd;
    if (errno != EINTR) break;
  }
  return KvmFd::refused(KVM_CREATE_VM, "Creating a virtual machine");
}

Result<void> check_options(const KvmSystem& system, const KvmOptions& options) {
  if (options.irqchip == IrqchipMode::Kernel && !system.has(KVM_CAP_IRQCHIP))
    return fail(Errc::Unsupported,
                "This host's KVM has no interrupt chips; use kernel-irqchip=off");
  if (options.irqchip == IrqchipMode::Split && !system.has(KVM_CAP_SPLIT_IRQCHIP))
    return fail(Errc::Unsupported,
                "This host's KVM has no split interrupt chips; use kernel-irqchip=on or off");
  if (options.pit && options.irqchip != IrqchipMode::Kernel)
    return fail(Errc::InvalidArgument, "An in-kernel PIT needs kernel-irqchip=on");
  if (options.pit && !system.has(KVM_CAP_PIT2))
    return fail(Errc::Unsupported, "This host's KVM has no PIT");
  const u64 ring_bytes = u64{options.dirty_ring} * sizeof(kvm_dirty_gfn);
  if (options.dirty_ring != 0 && !is_power_of_two(options.dirty_ring))
    return fail(Errc::InvalidArgument, "A dirty ring of {} entries: must be a power of two",
                options.dirty_ring);
  const int limit = std::max(system.capability(KVM_CAP_DIRTY_LOG_RING),
                             system.capability(KVM_CAP_DIRTY_LOG_RING_ACQ_REL));
  if (options.dirty_ring != 0 && limit == 0)
    return fail(Errc::Unsupported, "This host's KVM has no dirty rings");
  if (ring_bytes > static_cast<u64>(limit))
    return fail(Errc::OutOfRange, "A dirty ring of {} entries: this host's KVM allows {}",
                options.dirty_ring, static_cast<u64>(limit) / sizeof(kvm_dirty_gfn));
  return {};
}

}  // namespace

Result<std::unique_ptr<KvmVm>> KvmVm::create(const KvmSystem& system, const KvmOptions& options) {
  TRY(check_options(system, options));
  const int fd = TRY(create_vm(system));
  std::unique_ptr<KvmVm> vm(new KvmVm(system, options, KvmFd(UniqueFd(fd), system.fd().ioctls())));
  TRY(vm->set_up_memory());
  TRY(vm->set_up_dirty_ring());
  TRY(vm->set_up_irqchip());
  TRY(vm->set_up_pit());
  TRY(vm->set_up_notify_exit());
  return vm;
}

std::span<const std::string_view> enum_names(KvmOptions::NotifyExit) {
  static constexpr std::string_view kNames[] = {"run", "internal-error", "disable"};
  return kNames;
}

KvmVm::KvmVm(const KvmSystem& system, KvmOptions options, KvmFd fd)
    : system_(system), options_(std::move(options)), fd_(std::move(fd)) {}

KvmVm::~KvmVm() { ensure(vcpus_.empty(), "vCPUs go before their virtual machine"); }

Result<void> KvmVm::set_up_memory() {
  if (system_.has(KVM_CAP_SET_IDENTITY_MAP_ADDR)) {
    u64 address = kIdentityMapAddress;
    TRY(fd_.require(KVM_SET_IDENTITY_MAP_ADDR, &address, "Placing the identity map"));
  }
  TRY(fd_.require(KVM_SET_TSS_ADDR, static_cast<unsigned long>(kTssAddress),
                  "Placing the task state segment"));
  if (options_.shadow_memory != 0)
    TRY(fd_.require(KVM_SET_NR_MMU_PAGES,
                    static_cast<unsigned long>(options_.shadow_memory / kPageSize),
                    "Limiting shadow page tables"));
  return {};
}

Result<void> KvmVm::enable(u32 capability, u64 argument, std::string_view what) {
  kvm_enable_cap cap{};
  cap.cap = capability;
  cap.args[0] = argument;
  TRY(fd_.require(KVM_ENABLE_CAP, &cap, what));
  return {};
}

Result<void> KvmVm::set_up_dirty_ring() {
  if (options_.dirty_ring != 0) {
    const u32 kind = system_.has(KVM_CAP_DIRTY_LOG_RING_ACQ_REL) ? KVM_CAP_DIRTY_LOG_RING_ACQ_REL
                                                                 : KVM_CAP_DIRTY_LOG_RING;
    return enable(kind, options_.dirty_ring * sizeof(kvm_dirty_gfn), "Enabling dirty rings");
  }
  const int manual = system_.capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
  if (manual == 0) return {};
  return enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                static_cast<u64>(manual) & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
                "Choosing to clear dirty logs by hand");
}

Result<void> KvmVm::set_up_irqchip() {
  switch (options_.irqchip) {
    case IrqchipMode::User:
      // x2APIC registers of a user-space LAPIC are MSRs that only it can answer.
      if (system_.has(KVM_CAP_X86_USER_SPACE_MSR))
        return enable(KVM_CAP_X86_USER_SPACE_MSR,
                      KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN,
                      "Asking for MSR exits");
      return {};
    case IrqchipMode::Split:
      TRY(enable(KVM_CAP_SPLIT_IRQCHIP, kIoapicPins, "Creating split interrupt chips"));
      break;
    case IrqchipMode::Kernel:
      TRY(fd_.require(KVM_CREATE_IRQCHIP, 0ul, "Creating the interrupt chips"));
      break;
  }
  if (system_.has(KVM_CAP_X2APIC_API))
    TRY(enable(KVM_CAP_X2APIC_API,
               KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
               "Enabling 32-bit APIC IDs"));
  return {};
}

Result<void> KvmVm::set_up_pit() {
  if (!options_.pit) return {};
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;  // the kernel answers port 61h: counter 2's gate and output
  TRY(fd_.require(KVM_CREATE_PIT2, &config, "Creating the PIT"));
  if (system_.has(KVM_CAP_REINJECT_CONTROL)) {
    kvm_reinject_control control{};
    control.pit_reinject = options_.lost_ticks == LostTickPolicy::Delay;
    TRY(fd_.require(KVM_REINJECT_CONTROL, &control, "Choosing what becomes of lost ticks"));
  }
  return {};
}

Result<void> KvmVm::set_up_notify_exit() {
  const bool wanted = options_.notify_exit != KvmOptions::NotifyExit::Disable;
  if (!wanted || !system_.has(KVM_CAP_X86_NOTIFY_VMEXIT)) return {};
  constexpr u64 kFlags = KVM_X86_NOTIFY_VMEXIT_ENABLED | KVM_X86_NOTIFY_VMEXIT_USER;
  return enable(KVM_CAP_X86_NOTIFY_VMEXIT, u64{options_.notify_window} << 32 | kFlags,
                "Asking for exits from guests that block all events");
}

Result<KvmVcpuFd> KvmVm::take_vcpu(u32 id) {
  {
    const std::lock_guard guard(mutex_);
    if (auto parked = parked_.find(id); parked != parked_.end()) {
      KvmVcpuFd vcpu = std::move(parked->second);
      parked_.erase(parked);
      return vcpu;
    }
  }
  const int fd = fd_.call(KVM_CREATE_VCPU, static_cast<unsigned long>(id));
  if (fd >= 0) return KvmVcpuFd{KvmFd(UniqueFd(fd), fd_.ioctls()), {}};
  Error error = KvmFd::refused(KVM_CREATE_VCPU, format("Creating the vCPU with APIC ID {}", id));
  if (error.os_errno == EINVAL)
    error.text += format(
        "; this host's KVM allows {} vCPUs with IDs below {}",
        system_.capability(KVM_CAP_MAX_VCPUS),
        std::max(system_.capability(KVM_CAP_MAX_VCPU_ID), system_.capability(KVM_CAP_MAX_VCPUS)));
  return error;
}

void KvmVm::park_vcpu(u32 id, KvmVcpuFd vcpu) {
  const std::lock_guard guard(mutex_);
  parked_[id] = std::move(vcpu);
}

size_t KvmVm::parked_vcpus() const {
  const std::lock_guard guard(mutex_);
  return parked_.size();
}

void KvmVm::add(KvmVcpu& vcpu) {
  const std::lock_guard guard(mutex_);
  vcpus_.push_back(&vcpu);
}

void KvmVm::remove(KvmVcpu& vcpu) {
  const std::lock_guard guard(mutex_);
  std::erase(vcpus_, &vcpu);
}

void KvmVm::for_each_vcpu(const std::function<void(KvmVcpu&)>& visit) const {
  const std::lock_guard guard(mutex_);
  for (KvmVcpu* vcpu : vcpus_) visit(*vcpu);
}

void KvmVm::fail_machine(Error error) {
  log_error("kvm: {}", error.text);
  const std::lock_guard guard(mutex_);
  if (failed_.load(std::memory_order_relaxed)) return;
  failure_ = std::move(error.text);
  failed_.store(true, std::memory_order_release);
}

std::string KvmVm::failure() const {
  const std::lock_guard guard(mutex_);
  return failure_;
}

}  // namespace menura
