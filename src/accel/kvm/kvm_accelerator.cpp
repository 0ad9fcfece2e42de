#include "accel/kvm/kvm_accelerator.h"

#include <algorithm>

#include "accel/kvm/kvm_chips.h"
#include "accel/kvm/kvm_cpuid.h"

namespace menura {

Result<std::unique_ptr<KvmAccelerator>> KvmAccelerator::create(const AcceleratorContext& context,
                                                               const Clocks& clocks,
                                                               const KvmOptions& options,
                                                               std::unique_ptr<KvmIoctl> ioctls) {
  KvmSystem system = TRY(KvmSystem::open(options.device, *ioctls));
  std::unique_ptr<KvmAccelerator> kvm(
      new KvmAccelerator(context, clocks, std::move(ioctls), std::move(system)));
  TRY(kvm->start(options));
  return kvm;
}

KvmAccelerator::KvmAccelerator(const AcceleratorContext& context, const Clocks& clocks,
                               std::unique_ptr<KvmIoctl> ioctls, KvmSystem system)
    : context_(context), clocks_(clocks), ioctls_(std::move(ioctls)), system_(std::move(system)) {}

Result<void> KvmAccelerator::start(const KvmOptions& options) {
  const unsigned limit = static_cast<unsigned>(system_.capability(KVM_CAP_MAX_VCPUS));
  if (context_.max_cpus > limit)
    return fail(Errc::OutOfRange, "{} CPUs: this host's KVM allows {}", context_.max_cpus, limit);
  paravirt_ = TRY(paravirt_cpuid(system_, options));
  offer_ = offered_cpuid(system_, options);
  vm_ = TRY(KvmVm::create(system_, options));
  coalesced_ = std::make_unique<KvmCoalesced>(*vm_, context_.memory, context_.io);
  slots_ = std::make_unique<KvmSlots>(*vm_);
  if (has_smm()) {
    smm_slots_ = std::make_unique<KvmSlots>(*vm_, KvmSlots::Space::Smm);
    slots_->set_other(smm_slots_.get());
    smm_slots_->set_other(slots_.get());
  }
  memory_events_ = std::make_unique<KvmIoEvents>(*vm_, KvmIoEvents::Space::Memory);
  port_events_ = std::make_unique<KvmIoEvents>(*vm_, KvmIoEvents::Space::Ports);
  if (options.irqchip != IrqchipMode::User) irqchip_ = std::make_unique<KvmIrqchip>(*vm_);
  make_devices();
  context_.memory.add_listener(*slots_);
  if (smm_slots_) context_.smm->add_listener(*smm_slots_);
  context_.memory.add_listener(*memory_events_);
  context_.io.add_listener(*port_events_);
  context_.memory.before_register_access([this] { coalesced_->drain(); });
  context_.io.before_register_access([this] { coalesced_->drain(); });
  if (vm_->failed()) return fail(Errc::Io, "{}", vm_->failure());
  return {};
}

KvmAccelerator::~KvmAccelerator() {
  if (!port_events_) return;
  context_.memory.before_register_access({});
  context_.io.before_register_access({});
  context_.io.remove_listener(*port_events_);
  context_.memory.remove_listener(*memory_events_);
  if (smm_slots_) context_.smm->remove_listener(*smm_slots_);
  context_.memory.remove_listener(*slots_);
}

// KVM shows SMRAM through a second address space.
bool KvmAccelerator::has_smm() const {
  return context_.smm && system_.has(KVM_CAP_X86_SMM) &&
         system_.capability(KVM_CAP_MULTI_ADDRESS_SPACE) >= 2;
}

void KvmAccelerator::sync_dirty() {
  slots_->collect_dirty();
  if (smm_slots_) smm_slots_->collect_dirty();
}

void KvmAccelerator::make_devices() {
  const KvmOptions& options = vm_->options();
  if (options.irqchip == IrqchipMode::Kernel) {
    devices_.push_back(std::make_unique<KvmPic>("pic", *vm_));
    devices_.push_back(std::make_unique<KvmIoapic>("ioapic", *vm_));
  }
  if (options.pit) {
    auto pit = std::make_unique<KvmPit>("pit", *vm_, clocks_.tape, clocks_.time);
    pit_ = pit.get();
    devices_.push_back(std::move(pit));
  }
  if (system_.has(KVM_CAP_ADJUST_CLOCK))
    devices_.push_back(std::make_unique<KvmClock>("kvmclock", *vm_));
}

IrqSink* KvmAccelerator::kernel_pit() { return pit_; }

u64 KvmAccelerator::tsc_khz() const {
  if (tsc_khz_ != 0 || !system_.has(KVM_CAP_GET_TSC_KHZ)) return tsc_khz_;
  // Only a vCPU can tell; the bootstrap processor's, which is made sooner or later anyway.
  Result<KvmVcpuFd> vcpu = vm_->take_vcpu(0);
  if (!vcpu) return 0;
  tsc_khz_ = static_cast<u64>(std::max(0, vcpu->fd.call(KVM_GET_TSC_KHZ)));
  vm_->park_vcpu(0, std::move(*vcpu));
  return tsc_khz_;
}

Result<std::unique_ptr<Vcpu>> KvmAccelerator::create_vcpu(const VcpuConfig& config) {
  const KvmEnvironment environment{.vm = *vm_,
                                   .memory = context_.memory,
                                   .smm = smm_slots_ ? context_.smm : nullptr,
                                   .io = context_.io,
                                   .lock = context_.lock,
                                   .coalesced = *coalesced_,
                                   .slots = *slots_,
                                   .irqchip = irqchip_.get(),
                                   .time = clocks_.time};
  std::unique_ptr<KvmVcpu> vcpu =
      TRY(KvmVcpu::create(environment, config, vcpu_cpuid(config, offer_, paravirt_)));
  return std::unique_ptr<Vcpu>(std::move(vcpu));
}

std::vector<Device*> KvmAccelerator::devices() {
  std::vector<Device*> result;
  for (const auto& device : devices_) result.push_back(device.get());
  vm_->for_each_vcpu([&](KvmVcpu& vcpu) {
    for (const auto& device : vcpu.devices()) result.push_back(device.get());
  });
  return result;
}

KvmInfo KvmAccelerator::info() const {
  KvmInfo info;
  info.capabilities = system_.capabilities();
  info.feature_msrs = system_.feature_msrs();
  info.slots = slots_->slots();
  if (smm_slots_) info.smm_slots = smm_slots_->slots();
  info.ioctls = system_.fd().ioctls().counts();
  info.parked_vcpus = vm_->parked_vcpus();
  info.routes = irqchip_ ? irqchip_->routes() : 0;
  info.doorbells = memory_events_->installed().size() + port_events_->installed().size();
  info.coalesced_writes = coalesced_->delivered();
  std::array<u64, KvmVcpu::kExitReasons> exits{};
  vm_->for_each_vcpu([&](KvmVcpu& vcpu) {
    for (size_t reason = 0; reason < exits.size(); reason++)
      exits[reason] += vcpu.exit_count(reason);
  });
  for (size_t reason = 0; reason < exits.size(); reason++)
    if (exits[reason] != 0)
      info.exits.push_back({std::string(KvmVcpu::exit_name(reason)), exits[reason]});
  return info;
}

std::string print_kvm_info(const KvmInfo& info) {
  std::string text = "kvm support: enabled\ncapabilities:\n";
  for (const Capability& c : info.capabilities)
    text +=
        format("  {:<24}{:>8}  {}{}\n", c.name, c.value == 0 ? "missing" : format("{}", c.value),
               c.use, c.needed ? " (needed)" : "");
  text += "feature MSRs:\n";
  for (const auto& [index, value] : info.feature_msrs)
    text += format("  {:#010x} {:#018x}\n", index, value);
  const auto add_slot = [&](const KvmSlot& slot) {
    text += format("  {:>3}: {:016x}-{:016x} -> {:#x} {}+{:#x}{}{}\n", slot.id, slot.guest,
                   slot.guest + slot.size - 1, reinterpret_cast<u64>(slot.host()), slot.ram->name(),
                   slot.offset, slot.readonly ? " readonly" : "", slot.dirty_log ? " logged" : "");
  };
  text += "memory slots:\n";
  std::ranges::for_each(info.slots, add_slot);
  if (!info.smm_slots.empty()) text += "memory slots in system-management mode:\n";
  std::ranges::for_each(info.smm_slots, add_slot);
  text += "exits:\n";
  for (const KvmCount& c : info.exits) text += format("  {:<24}{:>12}\n", c.name, c.count);
  text += "ioctls:\n";
  for (const KvmCount& c : info.ioctls) text += format("  {:<32}{:>12}\n", c.name, c.count);
  return text + format("routes {}, doorbells {}, coalesced writes {}, parked vCPUs {}\n",
                       info.routes, info.doorbells, info.coalesced_writes, info.parked_vcpus);
}

}  // namespace menura
