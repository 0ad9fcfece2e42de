#include "accel/kvm/kvm_chips.h"
#include "accel/kvm/kvm_vcpu.h"

namespace menura {

u64 KvmClock::read() const {
  kvm_clock_data data{};
  if (auto done = vm_.fd().require(KVM_GET_CLOCK, &data, "Reading the guest's clock"); !done)
    vm_.fail_machine(std::move(done.error()));
  return data.clock;
}

void KvmClock::describe(StateVisitor& v) {
  if (!v.loading() && !stopped_) clock_ns_ = read();
  v.field("clock_ns", clock_ns_);
}

Result<void> KvmClock::restored() {
  kvm_clock_data data{};
  data.clock = clock_ns_;
  TRY(vm_.fd().require(KVM_SET_CLOCK, &data, "Setting the guest's clock"));
  return {};
}

void KvmClock::pause() {
  if (!stopped_) clock_ns_ = read();
  stopped_ = true;
}

void KvmClock::resume() {
  if (!stopped_) return;
  stopped_ = false;
  if (Result<void> done = restored(); !done) vm_.fail_machine(std::move(done.error()));
  // A guest that uses kvmclock then knows that its watchdogs were not starved by itself; one that
  // does not use it makes KVM say EINVAL.
  if (vm_.system().has(KVM_CAP_KVMCLOCK_CTRL))
    vm_.for_each_vcpu([](KvmVcpu& vcpu) { (void)vcpu.fd().call(KVM_KVMCLOCK_CTRL); });
}

}  // namespace menura
