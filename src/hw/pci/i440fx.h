// I440fx: the 82441FX PCI and memory controller (PMC): host bridge 8086:1237, device 0 of bus 0.
//
// Owner: the board; owns the root bus and configuration mechanism #1. Threads: under the machine lock.
// Source: Intel 440FX PCIset data sheet 290549. It decides what answers from 512 KiB to 16 MiB: PAM
// registers for C0000h..FFFFFh, SMRAM for A0000h..BFFFFh, FDHC's holes. Example:
//   I440fx pmc("i440fx", {.memory = memory, .io = io, .system_memory = memory_root,
//                         .pci_memory = pci_memory, .io_window = io_root, .ram = ram});
//   pmc.root_bus().add(piix3, PciBus::devfn(1, 0)).value();   pmc.set_pirqs(piix3);
// Deviations: DRAM timing, row and error registers are storage; TRC (93h) is absent.
#pragma once

#include "hw/pci/host_segments.h"
#include "hw/pci/pci_function.h"

namespace menura {

class I440fx final : public PciFunction {
 public:
  I440fx(std::string id, const HostBridgeWiring& wiring, Device* parent = nullptr);
  std::string_view type() const override { return "i440FX"; }

  PciBus& root_bus() { return root_.bus(); }
  // For CF8h.
  Region& config_ports() { return root_.config_ports().region(); }
  void set_reset_control(MmioHandler& ports) { root_.config_ports().set_behind(&ports); }
  // Who takes PIRQA (pin 0) to PIRQD (3).
  void set_pirqs(IrqSink& pirqs) { root_.set_pirqs(pirqs); }

  // The PIRQ that a slot's INTA# (pin 0) to INTD# (3) is wired to on this board: slot 1's INTA# is
  // PIRQA, each next slot is turned by one.
  static unsigned pirq_of(unsigned slot, unsigned pin) { return (slot + pin + 3) % PciBus::kPins; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  HostSegments::Hole hole() const;

  // Wiring
  HostRoot root_;
  HostSegments segments_;
};

}  // namespace menura
