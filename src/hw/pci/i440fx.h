// I440fx: the 82441FX PCI and memory controller (PMC): host bridge 8086:1237, device 0 of bus 0.
//
// Owner: the board; owns the root bus and configuration mechanism #1. Threads: under the machine lock.
// Source: Intel 440FX PCIset data sheet 290549. It decides what answers from 512 KiB to 16 MiB: PAM
// registers for C0000h..FFFFFh, SMRAM for A0000h..BFFFFh, FDHC's holes. Example:
//   I440fx pmc("i440fx", {.memory = memory, .io = io, .system_memory = memory_root,
//                         .pci_memory = pci_memory, .io_window = io_root, .ram = ram});
//   pmc.root_bus().add(piix3, PciBus::devfn(1, 0)).value();   pmc.set_pirqs(piix3);
// Deviations: DRAM timing, row and error registers are storage; TRC (93h) is absent; in a segment that
// reads DRAM and writes PCI, writes are dropped (the ROMs there drop them too).
#pragma once

#include <list>
#include <memory>

#include "hw/core/window.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_config_ports.h"
#include "hw/pci/pci_function.h"

namespace menura {

struct I440fxWiring {
  AddressSpace& memory;
  AddressSpace& io;
  // DRAM lies here at priority 0 or below; the bridge lays what hides it above, at priority 1.
  Region& system_memory;
  // All that PCI and ISA answer in memory space, from address 0; the board maps it below the DRAM.
  Region& pci_memory;
  Region& io_window;
  std::shared_ptr<RamBlock> ram;  // offset = address, for the first MiB at least
  MsiSink* msi = nullptr;
  // With SMM: the map that CPUs in system-management mode see, which the bridge fills. D_CLS, which
  // would keep their data accesses out of SMRAM but not their fetches, is storage.
  Region* smm = nullptr;
};

class I440fx final : public PciFunction {
 public:
  I440fx(std::string id, const I440fxWiring& wiring, Device* parent = nullptr);
  std::string_view type() const override { return "i440FX"; }

  PciBus& root_bus() { return root_bus_; }
  // For CF8h.
  Region& config_ports() { return config_ports_.region(); }
  void set_reset_control(MmioHandler& ports) { config_ports_.set_behind(&ports); }
  // Who takes PIRQA (pin 0) to PIRQD (3).
  void set_pirqs(IrqSink& pirqs) { pirqs_ = &pirqs; }

  // The PIRQ that a slot's INTA# (pin 0) to INTD# (3) is wired to on this board: slot 1's INTA# is
  // PIRQA, each next slot is turned by one.
  static unsigned pirq_of(unsigned slot, unsigned pin) { return (slot + pin + 3) % PciBus::kPins; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  // Where reads and writes of a piece of the first megabytes go.
  // As PAM's read and write enable bits have it.
  enum class Route : u8 { Pci = 0, DramReads = 1, DramWrites = 2, Dram = 3 };
  // What hides or filters a piece of the DRAM.
  struct Overlay {
    Overlay(I440fx& owner, Region& target, u64 first, u64 size);
    Region region;
  };
  // What CPUs in system-management mode see: the system's memory, and SMRAM in front of it.
  struct SmmView {
    SmmView(I440fx& owner, Region& root);
    Region system, smram;
  };
  // One piece with a register field of its own.
  struct Segment {
    std::optional<Overlay> abort;  // under pci: nobody there answers
    std::optional<Overlay> pci;
    std::optional<Overlay> dram_reads;  // PAM's segments only
    std::optional<Overlay> dram_writes;
  };

  u64 read_abort(Access) { return ~u64{0}; }
  void write_abort(Access, u64) {}
  u64 read_split(Access access);
  void write_split(Access access, u64 value);
  void guard_smram();
  Route route_of(unsigned segment) const;
  void update_segments();

  // Wiring
  I440fxWiring wiring_;
  IrqSink* pirqs_ = nullptr;
  IrqFunction pirq_gate_;
  PciBus root_bus_;
  PciConfigPorts config_ports_;
  AddressSpace pci_space_;  // the PCI side alone, for segments that read it and write DRAM
  Region dram_;             // the target of aliases, not on the map itself
  Window<I440fx> split_window_{*this, &I440fx::read_split, &I440fx::write_split};
  Region split_;
  // What a cycle that no PCI function takes reads as. An alias of PCI's side alone would show the
  // DRAM through its gaps.
  Window<I440fx> abort_window_{*this, &I440fx::read_abort, &I440fx::write_abort};
  Region abort_;
  std::list<Segment> segments_;
  std::optional<SmmView> smm_view_;  // with SMM

  // Derived from configuration space
  u8 smram_ = 0;  // before the write in progress
};

}  // namespace menura
