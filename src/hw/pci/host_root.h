// HostRoot: what the host bridges of PCs have alike: the root bus, its interrupt pins' way to whoever
// routes them, and configuration mechanism #1.
//
// Owner: a host bridge (a member). Threads: under the machine lock. Source: PCI Local Bus 3.0 §3.2.2.3;
// the data sheets of the 82441FX and the 82Q35. Example:
//   HostRoot root_("pci.0", wiring, &I440fx::pirq_of);   root_.set_pirqs(piix3);
#pragma once

#include <memory>
#include <string>

#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_config_ports.h"

namespace menura {

// What a host bridge is connected to.
struct HostBridgeWiring {
  AddressSpace& memory;
  AddressSpace& io;
  // As HostSegments has them.
  Region& system_memory;
  Region& pci_memory;
  Region& io_window;
  std::shared_ptr<RamBlock> ram;
  MsiSink* msi = nullptr;
  Region* smm = nullptr;
};

class HostRoot {
 public:
  HostRoot(std::string name, const HostBridgeWiring& wiring,
           unsigned (*pirq_of)(unsigned slot, unsigned pin))
      : gate_([this](unsigned pin, bool level) {
          return pirqs_ ? pirqs_->set_irq(pin, level) : IrqStatus::Ignored;
        }),
        bus_(std::move(name), {.memory = wiring.memory,
                               .io = wiring.io,
                               .memory_window = wiring.pci_memory,
                               .io_window = wiring.io_window,
                               .intx = &gate_,
                               .intx_route = pirq_of,
                               .msi = wiring.msi}),
        config_ports_(bus_) {}

  PciBus& bus() { return bus_; }
  PciConfigPorts& config_ports() { return config_ports_; }
  void set_pirqs(IrqSink& pirqs) { pirqs_ = &pirqs; }

 private:
  IrqSink* pirqs_ = nullptr;
  IrqFunction gate_;
  PciBus bus_;
  PciConfigPorts config_ports_;
};

}  // namespace menura
