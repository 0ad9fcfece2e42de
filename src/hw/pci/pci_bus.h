// PciBus: up to 32 devices of 8 functions, their configuration cycles, interrupt wires and regions.
//
// Owner: a host bridge (root) or a PCI-to-PCI bridge (secondary). Threads: under the machine lock.
// Source: PCI Local Bus 3.0 §3.2.2.3, PCI-to-PCI Bridge Architecture 1.2 §9.1 (interrupts). Example:
//   PciBus bus("pci.0", {.memory = m.memory, .io = m.io, .memory_window = m.memory_root,
//                        .io_window = m.io_root, .intx = &pirqs, .msi = &m});
//   bus.add(card, PciBus::devfn(3, 0)).value();   u32 id = bus.config_read({0, 0x18}, 0, 4);
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hw/core/device.h"
#include "hw/core/irq.h"
#include "hw/core/msi.h"
#include "memory/address_space.h"

namespace menura {

class PciFunction;

// The target of a configuration cycle.
struct PciAddress {
  u8 bus = 0;
  u8 devfn = 0;
};

enum class PciSpace : u8 { Memory, Io };

// Who lets cards come and go on a bus while the machine runs: the slot that it leads to.
class PciHotplug {
 public:
  virtual ~PciHotplug() = default;
  // A card was plugged, and reset.
  virtual void plugged(PciFunction& function) = 0;
  // Asks the guest to let the card and others of its slot go, or does without it where it does not listen.
  // Pending: false; true: they are gone.
  virtual bool request_eject(PciFunction& function) = 0;
};

// What a root bus is connected to.
struct PciRootWiring {
  AddressSpace& memory;  // as bus masters see it
  AddressSpace& io;
  Region& memory_window;  // containers in which BARs appear
  Region& io_window;
  // Pins 0 to 3 (PIRQA to PIRQD), or 0 to 7 with a route that says so: each the wired OR of the
  // INTx# routed to it.
  IrqSink* intx = nullptr;
  // Which of them a slot's INTA# (pin 0) to INTD# (3) goes to; null: the bridges' rule,
  // (slot + pin) mod 4.
  unsigned (*intx_route)(unsigned slot, unsigned pin) = nullptr;
  MsiSink* msi = nullptr;  // takes every message, whatever its address
};

class PciBus {
 public:
  static constexpr unsigned kSlots = 32;
  static constexpr unsigned kFunctions = 8;
  static constexpr unsigned kPins = 4;
  static constexpr unsigned kRootPins = 8;
  // BARs and windows lie over whatever else the board puts into the same container.
  static constexpr int kPriority = 1;

  PciBus(std::string name, const PciRootWiring& wiring);
  // Behind a bridge: BARs appear in the bridge's containers, which it opens through its windows.
  PciBus(std::string name, PciFunction& bridge, Region& memory, Region& io);
  ~PciBus();
  PciBus(const PciBus&) = delete;
  PciBus& operator=(const PciBus&) = delete;

  static constexpr u8 devfn(unsigned slot, unsigned function) {
    return static_cast<u8>(slot << 3 | function);
  }

  const std::string& name() const { return name_; }
  PciFunction* bridge() const { return bridge_; }  // null on the root bus
  // What the root is connected to; null while a bridge on the way is not plugged.
  const PciRootWiring* wiring() const;
  // Where this bus's BARs and windows appear.
  Region& space(PciSpace space) const { return space == PciSpace::Io ? io_ : memory_; }
  u8 number() const;  // 0 on the root bus, else what the bridge's register says

  // Plugs a function, with a bridge above already plugged. Exists when the place is taken. Function 0 of a slot shows the multifunction
  // bit as soon as another function of its slot is there.
  Result<void> add(PciFunction& function, u8 devfn);
  // Unplugs a function and, behind a bridge, all that hangs there. It loses its state with its power.
  void remove(PciFunction& function);
  // The first free slot from `first` on (of a link: its only one); NoSpace when the bus is full.
  Result<unsigned> free_slot(unsigned first = 1) const;
  // A PCI Express link: slot 0 is its only one.
  void make_point_to_point() { slots_ = 1; }
  // Null: cards stay as long as the machine.
  PciHotplug* hotplug() const { return hotplug_; }
  void set_hotplug(PciHotplug* hotplug) { hotplug_ = hotplug; }
  PciFunction* function(u8 devfn) const { return functions_[devfn]; }
  // In order of devfn.
  std::vector<PciFunction*> functions() const;

  // The function that a cycle on the root bus reaches, through bridges if need be.
  PciFunction* find(PciAddress address);
  // Configuration cycles; nobody there reads all ones. offset + size <= 256.
  u32 config_read(PciAddress address, unsigned offset, unsigned size);
  void config_write(PciAddress address, unsigned offset, unsigned size, u32 value);

  // RST# of this bus and those behind it.
  void reset(ResetKind kind);
  // While held (a bridge's secondary bus reset) nobody answers configuration cycles.
  void hold_in_reset(bool held) { held_ = held; }

  // The root bus's pin that INTA# (0) to INTD# (3) of a slot of this bus reaches. The bus must be
  // connected to a root.
  unsigned root_pin(unsigned slot, unsigned pin) const;
  bool pin_level(unsigned root_pin) const { return asserted_[root_pin] != 0; }

 private:
  friend class PciFunction;

  void detach(PciFunction& function);
  // Counts a function's pull on a root pin in or out; the sink hears of it unless after a load.
  void pull(unsigned root_pin, bool asserted, bool tell);
  bool masters_upstream() const;
  void show_multifunction(unsigned slot);

  // Wiring
  std::string name_;
  std::optional<PciRootWiring> wiring_;  // root only
  PciFunction* bridge_ = nullptr;
  unsigned slots_ = kSlots;
  PciHotplug* hotplug_ = nullptr;
  Region& memory_;
  Region& io_;
  std::array<PciFunction*, kSlots * kFunctions> functions_{};

  // Derived from the functions' states
  std::array<unsigned, kRootPins> asserted_{};  // root only: how many functions pull each pin
  bool held_ = false;
};

}  // namespace menura
