// Board: what a machine type adds to the common core: its chips, its firmware, its places for
// devices. One class per family of machines ("pc").
//
// Owner: Machine. Threads: under the machine lock. Example: see machine/pc/pc_board.h.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "accel/accelerator.h"
#include "base/result.h"
#include "cpu/x86/state.h"
#include "hw/core/device.h"
#include "machine/boot_order.h"
#include "machine/config.h"

namespace menura {

class Machine;
class PciBus;
class GsiRouting;
class IdeConnector;
class IrqStatistics;

enum class WakeCause : u8 { Other, PowerButton, Rtc };

// A connector for ATA drives, and what firmware calls it in its boot order.
struct IdeBus {
  IdeConnector* connector = nullptr;
  std::string boot_path;  // without the drive: "/pci@i0cf8/ide@1,1/drive@0"
};

class Board {
 public:
  virtual ~Board() = default;

  // Builds everything but CPUs; the accelerator exists already.
  virtual Result<void> build() = 0;
  // What a CPU with this index is to be: its LAPIC, its CPUID.
  virtual Result<VcpuConfig> cpu_config(unsigned index) = 0;
  // After the vCPU exists: connects its interrupt pins.
  virtual void connect_cpu(unsigned index, CpuInterrupts& cpu) = 0;
  // A CPU's registers after reset: where it starts.
  virtual void reset_cpu(unsigned index, x86::State& state) = 0;
  // The platform's reset line, just before the devices are reset; not the first power-on.
  virtual void system_reset() = 0;
  // The power button.
  virtual void press_power_button() = 0;
  // After the reset that ends a suspension to RAM.
  virtual void wake(WakeCause cause) = 0;

  // device_add and device_del, while the machine is there. An eject waits for the guest.
  virtual Result<void> plug(const NamedOptions& device) {
    return fail(Errc::Unsupported, "This machine takes no {} while it runs", device.name);
  }
  virtual Result<void> unplug(Device& device) {
    return fail(Errc::Unsupported, "This machine does not let {} go while it runs", device.id());
  }
  // A slot let a function go: the device behind it is no more.
  virtual void ejected(Device&) {}

  // For devices that users add; null, or not connected, where the board has none.
  virtual PciBus* pci_bus() { return nullptr; }
  virtual IrqLine isa_irq(unsigned /*irq*/) { return {}; }
  BootOrder& boot_order() { return boot_order_; }
  // Where ATA drives are plugged, by name: "ide.0", "ahci0.3". Controllers bring theirs.
  std::map<std::string, IdeBus, std::less<>>& ide_buses() { return ide_buses_; }
  // Slots for PCI Express cards, by chassis and number. False: another port has it.
  bool claim_slot(u8 chassis, u16 slot) { return slots_.emplace(chassis, slot).second; }
  // What all GSIs pass through, and where they go.
  virtual IrqStatistics* irqs() { return nullptr; }
  virtual const GsiRouting* gsi_routing() { return nullptr; }

 private:
  std::set<std::pair<u8, u16>> slots_;
  BootOrder boot_order_;
  std::map<std::string, IdeBus, std::less<>> ide_buses_;
};

// A row of the machine catalogue (-machine help).
struct MachineType {
  std::string_view name;
  std::string_view alias;  // empty: none
  std::string_view description;
  unsigned max_cpus = 1;
  bool has_cpus = true;
  bool is_default = false;
  std::string_view default_nic = {};  // the card of -nic; empty: none
  // The controller of -usb, as -device takes it; empty: none.
  std::string_view default_usb = {};
  std::unique_ptr<Board> (*make)(Machine& machine);
};

}  // namespace menura
