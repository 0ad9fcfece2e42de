// SoftMmu: a JIT vCPU's view of memory and ports: fills the software TLB, and carries the accesses
// that translated code cannot make by itself. It is the CpuBus of the instruction semantics.
//
// Owner: JitVcpu. Threads: the vCPU's; takes the machine lock around devices.
// Spec: Intel SDM vol. 3 §4. Example: `if (void* host = mmu.fill(linear, 8, PageAccess::Read)) ...`
#pragma once

#include <functional>
#include <utility>

#include "accel/accelerator.h"
#include "accel/jit/lockstep.h"
#include "accel/jit/translations.h"
#include "cpu/x86/bus.h"
#include "cpu/x86/paging.h"
#include "cpu/x86/state.h"
#include "memory/address_space.h"

namespace menura::engine {

// What SoftMmu asks of its vCPU.
class CpuSide {
 public:
  virtual ~CpuSide() = default;
  virtual u64 guest_tsc() const = 0;
  virtual void set_guest_tsc(u64 value) = 0;
  virtual void sync_x87() = 0;
  virtual void load_x87() = 0;
  virtual void random(Bytes out) = 0;
  virtual void relax() = 0;
};

class SoftMmu final : public x86::CpuBus {
 public:
  SoftMmu(x86::State& state, const AcceleratorContext& machine, const VcpuConfig& config,
          Translations& code, CpuSide& cpu);

  // The context of the current mode; chosen anew after anything that changes mode or tables.
  // `code` identifies everything that the translation of code depends on.
  void refresh(u64 code);
  // Takes over the data and I/O breakpoints of the debug registers. Their fingerprint: when it
  // changes, the tables must be flushed.
  u64 watch(const x86::State& state);
  // The bits of DR6 for breakpoints hit since the last call.
  u64 take_watched() { return std::exchange(watched_, 0); }
  // #AC, when alignment is checked and the access is not aligned.
  x86::OrFault<void> check_alignment(u64 linear, u64 size, x86::Privilege privilege) const;
  ir::Context& context() { return *context_; }
  // The TSC was set from outside: deadlines are measured against it.
  void tell_tsc();
  // From now on translated code makes no store by itself, and all are noted there.
  void set_journal(Journal* journal) { journal_ = journal; }
  // Writes the GS base: before translated code runs.
  void activate();
  // Translated code has run: it changes EFLAGS.AC, and the context with it, by itself.
  void resume() { context_ = active_ = sides_[s_.rflags >> 18 & 1]; }
  // The contexts for EFLAGS.AC = 0 and 1.
  const std::array<ir::Context*, 2>& sides() const { return sides_; }
  // Another machine may have run on this thread.
  void begin_run() { active_ = nullptr; }
  // After another thread changed the memory map.
  void refresh_view();
  // Pages that devices wrote since the last call, by their RamBlocks, as host addresses. One caller
  // at a time for all vCPUs.
  void each_written_page(const std::function<void(const std::byte*)>& visit);
  // Whether a device or port was accessed since the last call: the guest may know by it that a device
  // has written to memory.
  bool take_device_access() { return std::exchange(device_access_, false); }
  void clear_jumps() { pool_.clear_jumps(); }
  ContextPool& contexts() { return pool_; }
  const FlushStatistics& flushes() const { return pool_.flushes(); }

  // TLB miss: host memory of an access inside one page, or null when the instruction must be
  // executed one by one (fault, MMIO, write to code).
  void* fill(u64 linear, u32 size, x86::PageAccess access);
  // The same for an access that reaches into the next page: where both lie side by side, or `copy`
  // (256 bytes, aligned to 64) holding what is to be read.
  void* straddle(u64 linear, u32 size, x86::PageAccess access, Bytes copy);
  // Host memory of the code at a linear address, up to the end of its page; empty when it is not
  // in RAM or ROM.
  x86::OrFault<std::span<const u8>> code_at(u64 linear);
  // Where a whole access may be done directly: one page of RAM. wrote() follows a write.
  x86::OrFault<void*> direct(u64 linear, u64 size, x86::PageAccess access);
  void wrote(const void* host, u64 size) {
    if (code_.line_has_code(host, size)) code_.written(host, size);
  }

  // CpuBus.
  x86::OrFault<void> read(u64 linear, Bytes to, x86::Privilege privilege) override;
  x86::OrFault<void> write(u64 linear, ConstBytes from, x86::Privilege privilege) override;
  x86::OrFault<void> probe(u64 linear, u64 size, x86::PageAccess access,
                           x86::Privilege privilege) override;
  x86::OrFault<u64> load(u64 linear, unsigned size, x86::Privilege privilege) override;
  x86::OrFault<void> store(u64 linear, unsigned size, u64 value, x86::Privilege privilege) override;
  x86::OrFault<Bytes> window(u64 linear, u64 size, x86::PageAccess access,
                             x86::Privilege privilege) override;
  u64 load_physical(GuestAddr addr, unsigned size) override;
  void store_physical(GuestAddr addr, unsigned size, u64 value) override;
  bool compare_exchange_physical(GuestAddr addr, unsigned size, u64 expected, u64 desired) override;
  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;
  void flush_tlb(x86::TlbScope scope, u16 pcid) override;
  void flush_page(u64 linear, u16 pcid, bool globals_too) override;
  bool a20() const override { return true; }
  void random(Bytes out) override { cpu_.random(out); }
  void relax() override { cpu_.relax(); }
  u64 tsc() override;
  void set_tsc(u64 value) override { cpu_.set_guest_tsc(value); }
  x86::CpuidLeaf cpuid(u32 leaf, u32 subleaf) override;
  unsigned physical_bits() const override { return physical_bits_; }
  u8 task_priority() override;
  void set_task_priority(u8 value) override;
  std::optional<u64> apic_msr(u32 index) override;
  bool set_apic_msr(u32 index, u64 value) override;
  void sync_fpu() override { cpu_.sync_x87(); }
  void fpu_changed() override { cpu_.load_x87(); }

 private:
  // One part of an access, inside a page.
  struct Part {
    u64 physical;
    std::byte* host;  // null: a device, or nothing
    const FlatRange* range;
  };
  x86::OrFault<Part> locate(u64 linear, x86::PageAccess access, x86::Privilege privilege,
                            x86::Translation* translation = nullptr);
  std::byte* plain_ram(u64 linear, u64 size, x86::PageAccess access);
  const FlatRange* range_at(u64 physical);
  bool lapic_claims(u64 physical) const;
  void note_store(void* host, u64 physical, u64 size) {
    if (journal_) journal_->note(host, physical, size);
  }
  void device_read(u64 physical, Bytes to);
  void device_write(u64 physical, ConstBytes from);
  void note_access(u64 linear, u64 size, x86::PageAccess access);
  void note_port(u16 port, unsigned size);
  bool page_watched(u64 linear) const;
  void ram_write(const Part& part, ConstBytes from);
  void insert(u64 linear, const x86::Translation& translation, const Part& part);

  // Memory as this CPU sees it now: SMRAM shows in system-management mode only.
  struct Space {
    AddressSpace* memory = nullptr;
    View view = {};
    const FlatRange* last_range = nullptr;
  };
  Space& space() { return s_.in_smm && smm_.memory ? smm_ : plain_; }
  void refresh_space(Space& space);

  // Wiring
  x86::State& s_;
  AddressSpace& io_;
  MachineLock& lock_;
  TimerQueue* time_;
  const std::vector<CpuidEntry> cpuid_;
  LocalApic* lapic_;
  Translations& code_;
  CpuSide& cpu_;

  // State
  u8 physical_bits_ = 40;
  Space plain_, smm_;
  ContextPool pool_;
  ir::Context* context_ = nullptr;
  ir::Context* active_ = nullptr;  // in the GS base
  std::array<ir::Context*, 2> sides_{};
  bool device_access_ = false;
  bool watching_ = false;  // a data or I/O breakpoint is armed
  u64 watched_ = 0;        // DR6 bits
  Journal* journal_ = nullptr;
};

}  // namespace menura::engine
