// Edu: a PCI device to learn on, 1234:11e8: a factorial that takes its time, a DMA engine with 4 KiB of
// its own, interrupts by pin or message.
//
// Owner: the catalogue. Threads: under the machine lock. Source: the public "edu" device specification.
// Example:
//   Edu edu("edu", {}, time);   bus.add(edu, PciBus::devfn(3, 0)).value();
//   write32(bar + 0x08, 5);  ...  EXPECT_EQ(read32(bar + 0x08), 120u);
// Deviations: a transfer that leaves the device's memory moves nothing.
#pragma once

#include <array>

#include "event/timer.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msi.h"
#include "state/properties.h"

namespace menura {

struct EduConfig {
  u64 dma_mask = (u64{1} << 28) - 1;
  void describe(PropertyVisitor& p);
};

class Edu final : public PciFunction {
 public:
  Edu(std::string id, const EduConfig& config, TimerQueue& time, Device* parent = nullptr);
  ~Edu() override;
  std::string_view type() const override { return "edu"; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;

 private:
  u64 read(Access access);
  void write(Access access, u64 value);
  void start_factorial(u32 number);
  void end_factorial();
  void end_dma();
  bool transfer();
  void raise(u32 reasons);

  // Configuration
  const EduConfig config_;

  // Wiring
  TimerQueue& time_;
  Window<Edu> window_{*this, &Edu::read, &Edu::write};
  Region registers_;
  PciMsi msi_{*this, {.vectors = 1, .maskable = false}};
  Timer factorial_timer_;
  Timer dma_timer_;

  // State
  u32 liveness_ = 0;
  u32 factorial_ = 0;
  u32 status_ = 0;
  u32 interrupts_ = 0;
  u64 source_ = 0, destination_ = 0, count_ = 0;
  u32 command_ = 0;
  std::array<std::byte, 4096> buffer_{};
};

}  // namespace menura
