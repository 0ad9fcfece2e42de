// DummyAccelerator: vCPUs that exist and never execute, for tests that drive a machine's devices
// from outside (`-accel qtest`).
//
// Owner: the machine. Threads: as accel/accelerator.h says. Registers are kept as they are set;
// interrupts reach the vCPUs' pins and go no further. Example: `DummyAccelerator accel;`
#pragma once

#include <atomic>

#include "accel/accelerator.h"

namespace menura {

class DummyVcpu final : public Vcpu {
 public:
  Exit run() override { return kicked_.exchange(false) ? Exit::Kicked : Exit::Halted; }
  void kick() override { kicked_ = true; }
  void get(x86::State& state) override { state = state_; }
  void set(const x86::State& state) override { state_ = state; }

  void set_intr(bool) override {}
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void sipi(u8) override {}

 private:
  std::atomic<bool> kicked_{false};
  x86::State state_;
};

class DummyAccelerator final : public Accelerator {
 public:
  std::string_view name() const override { return "qtest"; }
  IrqchipMode irqchip_mode() const override { return IrqchipMode::User; }
  // Nothing is offered, for nothing would be executed.
  std::vector<CpuidEntry> supported_cpuid() const override { return {}; }
  u64 tsc_khz() const override { return 1'000'000; }  // a tick a virtual nanosecond
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig&) override {
    return std::unique_ptr<Vcpu>(std::make_unique<DummyVcpu>());
  }
  bool executes() const override { return false; }
  bool has_smm() const override { return true; }  // SMIs go nowhere, SMRAM is there
};

}  // namespace menura
