// VirtioRng: a source of random bytes (VIRTIO 1.2 §5.4), from the Tape.
//
// Owner: its transport. Threads: under the machine lock. With a limit, what a period's allowance does
// not cover waits for the next period. Example: `std::make_unique<VirtioRng>(tape, VirtioRngConfig{})`
#pragma once

#include "event/tape.h"
#include "hw/virtio/virtio_device.h"

namespace menura {

struct VirtioRngConfig {
  u64 max_bytes = ~u64{0} >> 1;  // in each period
  u32 period = 1 << 16;          // ms
  void describe(PropertyVisitor& p);
};

class VirtioRng final : public VirtioDevice {
 public:
  static constexpr VirtioKind kKind{.id = virtio::kEntropy,
                                    .name = "virtio-rng",
                                    .class_code = 0x00ff00,
                                    .legacy_pci_device = 0x1005};
  VirtioRng(Tape& tape, const VirtioRngConfig& config);

 protected:
  u64 device_features() const override { return 0; }
  void process(unsigned queue) override;
  void reset_device() override;
  void describe_device(StateVisitor& v) override;
  Result<void> restored_device() override;

 private:
  void new_period();
  void arm();

  // Configuration
  const VirtioRngConfig config_;

  // Wiring
  Tape& tape_;
  std::optional<Timer> timer_;

  // State
  u64 allowance_;
  i64 period_end_ns_ = TimerQueue::kNever;  // while a period runs
};

}  // namespace menura
