// JitAccelerator: translated execution as an Accelerator (`-accel jit`).
//
// Owner: the machine; its vCPUs go first. Threads: see accel/accelerator.h.
// Example: `auto jit = TRY(JitAccelerator::create(context, tape, {.code_size = 64 * MiB}));`
#pragma once

#include <mutex>

#include "accel/accelerator.h"
#include "accel/jit/jit_vcpu.h"

namespace menura {

class JitAccelerator final : public Accelerator, private MemoryListener {
 public:
  // Refuses hosts without AVX, BMI2 or FSGSBASE.
  static Result<std::unique_ptr<JitAccelerator>> create(const AcceleratorContext& context,
                                                        Tape& tape,
                                                        const engine::JitOptions& options);
  ~JitAccelerator() override;

  std::string_view name() const override { return "jit"; }
  IrqchipMode irqchip_mode() const override { return IrqchipMode::User; }
  std::vector<CpuidEntry> supported_cpuid() const override { return offer_; }
  u64 tsc_khz() const override { return tsc_khz_; }
  bool has_smm() const override { return true; }
  // While the vCPUs rest.
  engine::JitReport report() const;
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig& config) override;

  // For tests.
  engine::Translations& translations() { return *shared_.code; }

 private:
  JitAccelerator(const AcceleratorContext& context, Tape& tape, const engine::JitOptions& options,
                 u64 tsc_khz, std::unique_ptr<engine::Translations> code);
  void changed(const FlatView& before, const FlatView& after) override;
  void forget_removed(const FlatView& before, const FlatView& after);

  // Configuration
  const engine::JitOptions options_;
  const std::vector<CpuidEntry> offer_;
  const u64 tsc_khz_;

  // Wiring
  AcceleratorContext context_;
  engine::JitShared shared_;
  mutable std::mutex mutex_;
  std::vector<engine::JitVcpu*> vcpus_;  // guarded by mutex_
};

namespace engine {
// The host's CPUID, less what the decoder does not know or the semantics do not implement.
std::vector<CpuidEntry> offered_cpuid();
// Of the host's TSC, measured once.
u64 measure_tsc_khz();
}  // namespace engine

}  // namespace menura
