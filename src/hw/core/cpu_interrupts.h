// CpuInterrupts: the interrupt pins of one CPU, as its local APIC (or a lone PIC) drives them.
//
// Owner: implemented by the accelerator's vCPU; called by hw/intc. Threads: under the machine lock;
// each call makes a running vCPU look at its pins soon. Source: Intel SDM vol. 3 §7 and §11.
#pragma once

#include "base/types.h"

namespace menura {

class CpuInterrupts {
 public:
  virtual ~CpuInterrupts() = default;
  // INTR: a maskable interrupt waits; the vCPU fetches its vector with InterruptSource::acknowledge.
  virtual void set_intr(bool pending) = 0;
  virtual void nmi() = 0;
  virtual void smi() = 0;
  // INIT: to the reset state, then wait for a start-up message (or run, on the bootstrap CPU).
  virtual void init() = 0;
  virtual void sipi(u8 vector) = 0;
};

// Where a vCPU without an in-kernel interrupt controller fetches vectors: its LAPIC or the PIC.
class InterruptSource {
 public:
  virtual ~InterruptSource() = default;
  // The vector of the highest interrupt that may be delivered now, which is thereby accepted
  // (IRR to ISR, INTA cycle); -1 when there is none after all.
  virtual int acknowledge() = 0;
  virtual bool pending() const = 0;
};

}  // namespace menura
