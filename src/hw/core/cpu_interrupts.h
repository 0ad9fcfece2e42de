// CpuInterrupts: the interrupt pins of one CPU, as its local APIC (or a lone PIC) drives them.
//
// Owner: implemented by the accelerator's vCPU; called by hw/intc. Threads: under the machine lock;
// each call makes a running vCPU look at its pins soon. Source: Intel SDM vol. 3 §7 and §11.
#pragma once

#include "base/types.h"
#include "memory/guest_addr.h"
#include "memory/mmio.h"

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

// A local APIC outside of the accelerator, as its own CPU reaches it. The offset of an access is
// that into its page of registers.
class LocalApic : public InterruptSource, public MmioHandler {
 public:
  // Whether this CPU's access to a physical address is one to its local APIC: to be asked before
  // the address space.
  virtual bool claims(GuestAddr address) const = 0;
  // IA32_APIC_BASE (1Bh), IA32_TSC_DEADLINE (6E0h) and the x2APIC registers (800h-8FFh).
  // False: #GP(0).
  virtual bool read_msr(u32 index, u64& value) = 0;
  virtual bool write_msr(u32 index, u64 value) = 0;
  // CR8, 0-15; the CPU has refused larger values.
  virtual u8 cr8() const = 0;
  virtual void set_cr8(u8 value) = 0;
  // What the CPU's TSC reads now: to be told before a write of IA32_TSC_DEADLINE, and after a load.
  virtual void set_tsc(u64 now) = 0;
};

}  // namespace menura
