#include "hw/pci/pci_power.h"

#include "hw/pci/pci_regs.h"

namespace menura {

namespace {
constexpr unsigned kCapabilitySize = 8;
constexpr u16 kVersion12 = 3;
constexpr u8 kStateMask = 3;
constexpr u8 kD3Hot = 3;
constexpr u16 kNoSoftReset = 1 << 3;
}  // namespace

PciPower::PciPower(PciFunction& function)
    : PciCapability(function, pci::kCapPowerManagement, kCapabilitySize) {
  config().define(
      {.offset = static_cast<u8>(offset() + 2), .size = 2, .name = "pmc", .reset = kVersion12});
  config().define({.offset = static_cast<u8>(offset() + 4),
                   .size = 2,
                   .name = "pmcsr",
                   .reset = kNoSoftReset,
                   .writable = kStateMask});
}

u8 PciPower::written_state() const { return config().get8(offset() + 4) & kStateMask; }

void PciPower::config_written() {
  const u8 wanted = written_state();
  // "If software attempts to write an unsupported, optional state to this field, the write
  // operation must complete normally [...] however, the data is discarded": D1 and D2.
  if (wanted == 0 || wanted == kD3Hot)
    state_ = wanted;
  else
    config().set(offset() + 4, 2, kNoSoftReset | state_);
}

Result<void> PciPower::restored() {
  state_ = written_state();
  return {};
}

}  // namespace menura
