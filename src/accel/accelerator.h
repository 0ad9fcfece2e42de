// Accelerator and Vcpu: what runs guest code. KVM, the JIT and the dummy implement both.
//
// Owner: the machine owns one Accelerator; a VcpuThread each vCPU. Threads: on the machine's thread
// under the machine lock, except where stated. Example:
//   auto accel = TRY(choose_accelerator(names, context));
//   auto cpu = TRY(VcpuThread::start(*accel, lock, {.name = "CPU 0/KVM", .vcpu = {.apic_id = 0}}));
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cpu/x86/cpuid_entry.h"
#include "cpu/x86/state.h"
#include "event/machine_lock.h"
#include "event/timer.h"
#include "hw/core/cpu_interrupts.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "memory/address_space.h"

namespace menura {

// Where the interrupt chips live (kernel-irqchip=).
enum class IrqchipMode : u8 { User, Split, Kernel };

struct VcpuConfig {
  unsigned index = 0;  // 0 is the bootstrap processor
  u32 apic_id = 0;
  std::vector<CpuidEntry> cpuid = {};
  u64 tsc_khz = 0;                        // 0: the host's
  InterruptSource* interrupts = nullptr;  // user and split mode; null in kernel mode
  LocalApic* lapic = nullptr;             // user mode: the same object, unless there is no APIC
  // Called from any thread when an interrupt, INIT or SIPI may end a Halted vCPU's sleep (kick()
  // does not call it); VcpuThread sets it.
  std::function<void()> wake = {};
};

// What a debugger wants of a vCPU; everything off by default.
struct DebugControl {
  enum class Kind : u8 { Execute, Write, Access };
  struct Point {
    u64 address = 0;  // linear
    Kind kind = Kind::Execute;
    u8 size = 1;  // bytes: 1, 2, 4 or 8; 1 for Execute
  };
  bool single_step = false;
  bool software_breakpoints = false;  // INT3 comes back as Exit::Debug
  std::vector<Point> points = {};     // at most four
};

// Why run() came back.
enum class Exit : u8 {
  Kicked,    // kick() was called
  Halted,    // HLT (or waiting for SIPI) and no event: sleep until kicked
  Debug,     // a breakpoint, watchpoint or single step the debugger asked for
  Reset,     // triple fault, or a reset the guest asked of the CPU
  Shutdown,  // the accelerator says that the machine powers off
  Failed,    // the accelerator cannot go on; failure() says why
};

class Vcpu : public CpuInterrupts {
 public:
  // Runs guest code until something above happens. On the vCPU's own thread, without the machine
  // lock: port and memory-mapped I/O are resolved inside, taking the lock themselves.
  virtual Exit run() = 0;
  // Makes run() return Kicked soon, also a call of run() that has not begun yet. Any thread.
  virtual void kick() = 0;
  // After Exit::Failed: one or more lines for the user.
  virtual std::string failure() const { return {}; }

  // The architectural state, while the vCPU does not run. get() reads the engine's registers at
  // most once until the next run().
  virtual void get(x86::State& state) = 0;
  virtual void set(const x86::State& state) = 0;

  // Same thread rule. Errc::Unsupported where the engine cannot.
  virtual Result<void> set_debug(const DebugControl& control) {
    if (!control.single_step && !control.software_breakpoints && control.points.empty()) return {};
    return fail(Errc::Unsupported, "This accelerator has no guest debugging");
  }
};

class GsiRouting;
class Ioapic;

// The interrupt chips inside an accelerator, in kernel or split mode. Its pins are GSIs.
class KernelIrqchip : public IrqSink, public MsiSink {
 public:
  // From now on follows the board's routes (hw/intc/gsi_routing.h), which outlive it, and in split
  // mode the IOAPIC in user space, whose entries become routes and which hears of EOIs.
  virtual void mirror(GsiRouting& routing, Ioapic* ioapic) = 0;
  // Signals on fd raise the GSI; a level-triggered one is lowered at EOI, and resample_fd signalled,
  // when that is given (else -1).
  virtual Result<void> attach_irqfd(unsigned gsi, int fd, int resample_fd) = 0;
  virtual void detach_irqfd(unsigned gsi, int fd) = 0;
};

// One line of `info kvm` and of `-accel help`.
struct Capability {
  std::string name;
  i64 value = 0;  // 0: missing
  bool needed = false;
  std::string use;  // what menura does with it
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual std::string_view name() const = 0;  // "kvm", "jit", "qtest"
  virtual IrqchipMode irqchip_mode() const = 0;
  virtual KernelIrqchip* kernel_irqchip() { return nullptr; }
  // A PIT inside the accelerator, which answers ports 40h-43h and 61h and drives GSI 0 itself: pin 0
  // is high while an HPET stands in for it. Null: the PIT is a device of the board.
  virtual IrqSink* kernel_pit() { return nullptr; }
  virtual std::vector<Capability> capabilities() const { return {}; }
  // What the accelerator can offer a guest; the CPU model takes its subset.
  virtual std::vector<CpuidEntry> supported_cpuid() const = 0;
  virtual u64 tsc_khz() const = 0;
  // On the thread that will run the vCPU, while the creator waits (perhaps with the machine lock
  // held: this does not take it). The vCPU is to be destroyed on that thread, too.
  virtual Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuConfig& config) = 0;
  // Whether vCPUs execute code at all (false for the dummy).
  virtual bool executes() const { return true; }
  // Whether vCPUs take SMIs, and see AcceleratorContext::smm while they serve them.
  virtual bool has_smm() const { return false; }
  // State that the accelerator holds for the machine (in-kernel chips, clocks), as devices for
  // reset and saved state. Grows with each vCPU.
  virtual std::vector<Device*> devices() { return {}; }
  // Moves the pages that guests wrote since the last call into their RamBlocks' dirty bitmaps.
  virtual void sync_dirty() {}
};

// What an accelerator is built over.
struct AcceleratorContext {
  AddressSpace& memory;
  AddressSpace& io;
  MachineLock& lock;
  unsigned max_cpus = 1;
  // Physical memory as a CPU in system-management mode sees it: `memory` and SMRAM. Null: no SMM.
  AddressSpace* smm = nullptr;
  // Guest time, for an accelerator that shows it to guests itself (RDTSC of the JIT).
  TimerQueue* time = nullptr;
};

}  // namespace menura
