// PciPower: the power management capability with the states D0 and D3hot.
//
// Owner: a PciFunction (a member, made in its constructor). Threads: under the machine lock.
// Source: PCI Bus Power Management 1.2 §3.2. In D3hot the function decodes nothing, masters nothing
// and drives no INTx; it keeps its state (No_Soft_Reset). PME# is not generated.
// Example: `PciPower power_{*this};`
#pragma once

#include "hw/pci/pci_function.h"

namespace menura {

class PciPower final : public PciCapability {
 public:
  explicit PciPower(PciFunction& function);

 private:
  void config_written() override;
  void reset() override { state_ = 0; }
  Result<void> restored() override;
  bool powers_down() const override { return state_ != 0; }
  u8 written_state() const;

  // Derived from PMCSR: the state before the write in progress
  u8 state_ = 0;
};

}  // namespace menura
