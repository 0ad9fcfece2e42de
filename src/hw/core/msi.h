// Message-signalled interrupts: a dword written to an address that an interrupt controller watches.
//
// Owner: the interrupt controller implements MsiSink; PCI functions and the IOAPIC send.
// Threads: under the machine lock. Source: PCI 3.0 §6.8, Intel SDM vol. 3 §11.11.
#pragma once

#include "base/types.h"
#include "hw/core/irq.h"

namespace menura {

struct MsiMessage {
  u64 address = 0;
  u32 data = 0;
  bool operator==(const MsiMessage&) const = default;
};

class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual IrqStatus send_msi(const MsiMessage& message) = 0;
};

}  // namespace menura
