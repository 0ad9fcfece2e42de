// CpuBus: everything outside of x86::State that an instruction's semantics may touch: memory by
// linear address, physical memory, ports, the translation caches, time, CPUID and the local APIC.
//
// Owner: implemented by the accelerator (the JIT's vCPU) and by test doubles; used by cpu/x86 and
// jit/front/x86. Threads: the vCPU's. Spec: Intel SDM vol. 3 §4 (paging), §11 (APIC).
// Example: `u64 descriptor = TRY(bus.load(state.gdtr.base + (selector & ~7), 8, Privilege::Supervisor));`
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/types.h"
#include "cpu/x86/fault.h"
#include "memory/guest_addr.h"

namespace menura::x86 {

// On whose behalf linear memory is touched: as the CPL says (with SMAP and EFLAGS.AC), or
// implicitly by the processor (descriptor tables, TSS, stacks of inner levels), always supervisor.
enum class Privilege : u8 { Current, Supervisor, User };

enum class PageAccess : u8 { Read, Write, Fetch };

enum class TlbScope : u8 { All, NonGlobal, OnePcid };

struct CpuidLeaf {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// What the page walker needs of memory; also behind SMM state saves.
class PhysicalBus {
 public:
  virtual ~PhysicalBus() = default;
  // Accesses of 1, 2, 4 or 8 naturally aligned bytes; unmapped reads give all ones.
  virtual u64 load_physical(GuestAddr addr, unsigned size) = 0;
  virtual void store_physical(GuestAddr addr, unsigned size, u64 value) = 0;
  // Atomic; false when the memory did not hold `expected` (or is not RAM). 4 or 8 bytes.
  virtual bool compare_exchange_physical(GuestAddr addr, unsigned size, u64 expected,
                                         u64 desired) = 0;
};

class CpuBus : public PhysicalBus {
 public:
  // Linear memory after segmentation. Any length, across pages; nothing is transferred unless all
  // of it may be: a faulting access has no effect but accessed bits. Reaches MMIO as well.
  virtual OrFault<void> read(u64 linear, Bytes to, Privilege privilege) = 0;
  virtual OrFault<void> write(u64 linear, ConstBytes from, Privilege privilege) = 0;
  // Faults as the access would, without doing it (for instructions that write in several parts).
  virtual OrFault<void> probe(u64 linear, u64 size, PageAccess access, Privilege privilege) = 0;
  // A single access of 1, 2, 4 or 8 bytes.
  virtual OrFault<u64> load(u64 linear, unsigned size, Privilege privilege) = 0;
  virtual OrFault<void> store(u64 linear, unsigned size, u64 value, Privilege privilege) = 0;
  // Host memory for bulk string operations: the longest run from `linear` of at most `size` bytes
  // inside one page that is plain RAM (and, for writes, holds no translated code), or an empty span
  // when it must go through read() and write(). Valid until the instruction ends.
  virtual OrFault<Bytes> window(u64 linear, u64 size, PageAccess access, Privilege privilege) = 0;

  // Ports, after permission checks. Sizes 1, 2, 4.
  virtual u32 in(u16 port, unsigned size) = 0;
  virtual void out(u16 port, unsigned size, u32 value) = 0;

  // Translation caches. Changes of CR0, CR3, CR4, EFER, PKRU and of CPL need these calls only where
  // the SDM says that the TLB is flushed: the engine sees modes and privilege in State by itself.
  virtual void flush_tlb(TlbScope scope, u16 pcid) = 0;
  virtual void flush_page(u64 linear, u16 pcid, bool globals_too) = 0;
  virtual bool a20() const = 0;

  // Time and identity. TSC already holds offset and TSC_ADJUST.
  virtual u64 tsc() = 0;
  virtual void set_tsc(u64 value) = 0;
  virtual CpuidLeaf cpuid(u32 leaf, u32 subleaf) = 0;
  virtual unsigned physical_bits() const = 0;

  // What RDRAND and RDSEED give.
  virtual void random(Bytes out) = 0;
  // PAUSE: the guest waits for another vCPU, which may need the host CPU to come on.
  virtual void relax() {}

  // The local APIC: CR8, IA32_APIC_BASE, TSC deadline and x2APIC registers (MSR 800h-8FFh). The MSR
  // calls answer nothing / false where the APIC does not know the register: #GP.
  virtual u8 task_priority() = 0;
  virtual void set_task_priority(u8 value) = 0;
  virtual std::optional<u64> apic_msr(u32 index) = 0;
  virtual bool set_apic_msr(u32 index, u64 value) = 0;

  // State.x87, .vec and .mxcsr may live in host registers: called before an instruction's semantics
  // looks at them, and after it changed them.
  virtual void sync_fpu() = 0;
  virtual void fpu_changed() = 0;
};

}  // namespace menura::x86
