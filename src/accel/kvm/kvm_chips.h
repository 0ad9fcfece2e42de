// The in-kernel interrupt chips, timer and clock as devices of the machine: reset and saved through
// the same state structures as the chips of hw/intc and hw/timer.
//
// Owner: the accelerator (chips, clock) and each vCPU (its LAPIC and other MSRs). Threads: under the
// machine lock with the vCPUs paused. Every read asks the kernel; loading ends in restored(), which
// writes. A state saved with the chips in one place loads with them in the other, where the device
// ids agree. Example: `for (Device* chip : accel.devices()) list.add(*chip);`
#pragma once

#include "accel/kvm/kvm_msrs.h"
#include "accel/kvm/kvm_vm.h"
#include "event/clock.h"
#include "event/tape.h"
#include "event/timer.h"
#include "hw/core/device.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/intc/pic.h"
#include "hw/timer/pit.h"

namespace menura {

// Conversions. What the kernel does not keep is at its neutral value.

// Which of the two 8259As; their ELCRs differ in what can be written.
enum class PicRole : u8 { Master, Slave };
kvm_pic_state to_kernel(const PicState& state, PicRole role);
PicState from_kernel(const kvm_pic_state& k);

// Pin levels are not the kernel's to tell: those it knows of are the pending ones.
kvm_ioapic_state to_kernel(const IoapicState& state, u64 base_address);
IoapicState from_kernel(const kvm_ioapic_state& k);

// A count is dated by ticks of the machine's PIT clock here and by an age there. The kernel begins a
// count anew when its state is set, so its phase is lost then.
kvm_pit_channel_state to_kernel(const PitCounterState& state);
PitCounterState from_kernel(const kvm_pit_channel_state& k, i64 age_ns, i64 now_tick);

// `k` keeps what LapicState does not know. now_ns is virtual time.
void to_kernel(const LapicState& state, i64 now_ns, kvm_lapic_state& k);
LapicState from_kernel(const kvm_lapic_state& k, u64 apic_base, u64 tsc_deadline, i64 now_ns);

// Devices.

class KvmPic final : public Device {
 public:
  KvmPic(std::string id, KvmVm& vm) : Device(std::move(id)), vm_(vm) {}
  std::string_view type() const override { return "kvm-i8259"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  Result<void> read();
  Result<void> write();
  KvmVm& vm_;
  PicState master_, slave_;
};

class KvmIoapic final : public Device {
 public:
  KvmIoapic(std::string id, KvmVm& vm) : Device(std::move(id)), vm_(vm) {}
  std::string_view type() const override { return "kvm-ioapic"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  KvmVm& vm_;
  IoapicState state_;
};

class KvmPit final : public Device, public IrqSink {
 public:
  KvmPit(std::string id, KvmVm& vm, Tape& tape, TimerQueue& time)
      : Device(std::move(id)), vm_(vm), tape_(tape), time_(time) {}
  std::string_view type() const override { return "kvm-pit"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;
  // Pin 0: an HPET drives GSI 0 in its place.
  IrqStatus set_irq(unsigned pin, bool level) override;

 private:
  KvmVm& vm_;
  bool replaced_ = false;  // the HPET's to describe
  Tape& tape_;
  TimerQueue& time_;
  PitState state_;
};

class KvmLapic final : public Device {
 public:
  KvmLapic(std::string id, KvmVcpu& vcpu, TimerQueue& time)
      : Device(std::move(id)), vcpu_(vcpu), time_(time) {}
  std::string_view type() const override { return "kvm-apic"; }
  void reset(ResetKind kind) override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  KvmVcpu& vcpu_;
  TimerQueue& time_;
  LapicState state_;
};

// The MSRs that KVM keeps and x86::State does not name (performance counters, Hyper-V's, ...).
class KvmOtherMsrs final : public Device {
 public:
  KvmOtherMsrs(std::string id, KvmVcpu& vcpu) : Device(std::move(id)), vcpu_(vcpu) {}
  std::string_view type() const override { return "kvm-msrs"; }
  void reset(ResetKind) override {}  // KVM has none that the machine's reset line reaches
  void describe(StateVisitor& v) override;
  Result<void> restored() override;

 private:
  KvmVcpu& vcpu_;
  std::vector<KvmMsrValue> values_;
};

// kvmclock: stands still while the machine is paused, and guests hear that it was.
class KvmClock final : public Device {
 public:
  KvmClock(std::string id, KvmVm& vm) : Device(std::move(id)), vm_(vm) {}
  std::string_view type() const override { return "kvmclock"; }
  void reset(ResetKind) override {}  // counts from the creation of the virtual machine
  void describe(StateVisitor& v) override;
  Result<void> restored() override;
  void pause() override;
  void resume() override;

 private:
  u64 read() const;
  KvmVm& vm_;
  u64 clock_ns_ = 0;
  bool stopped_ = false;
};

}  // namespace menura
