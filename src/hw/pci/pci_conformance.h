// What every PCI function must do, checked from outside: for tests.
//
// Owner: the test. Threads: one. Source: PCI Local Bus 3.0 §6. Example:
//   PciTestBus rig;  Card card;  rig.bus.add(card, PciBus::devfn(3, 0)).value();
//   EXPECT_THAT(check_pci_function(card), testing::IsEmpty());
#pragma once

#include <string>
#include <vector>

#include "hw/core/device_conformance.h"
#include "hw/core/test_machine.h"
#include "hw/core/window.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_function.h"

namespace menura {

// A root bus on a test machine: BARs appear in its spaces, INTx as its pins 0 to 3, MSIs in take_msis().
struct PciTestBus {
  TestMachine machine;
  PciBus bus{"pci.0",
             {.memory = machine.memory,
              .io = machine.io,
              .memory_window = machine.memory_root,
              .io_window = machine.io_root,
              .intx = &machine,
              .msi = &machine}};
};

// A rig for conformance_problems() (hw/core/device_conformance.h): the function on a root bus, all of
// its BARs programmed, its configuration space at kConfig for the wild guest.
class PciConformanceRig : public ConformanceRig {
 public:
  static constexpr u64 kConfig = 0xfd00'0000;

  Device& device() override { return *function_; }
  void program() override;

 protected:
  // By the derived rig, which owns the function.
  void plug(PciFunction& function, u8 devfn);

  PciBus bus{"pci.0",
             {.memory = machine.memory,
              .io = machine.io,
              .memory_window = machine.memory_root,
              .io_window = machine.io_root,
              .intx = &machine,
              .msi = &machine}};

 private:
  u64 read_config(Access access);
  void write_config(Access access, u64 value);

  PciFunction* function_ = nullptr;
  Window<PciConformanceRig> window_{*this, &PciConformanceRig::read_config,
                                    &PciConformanceRig::write_config};
  Region config_ = Region::mmio("config", ConfigSpace::kSize, window_);
};

// Bytes of configuration space whose writable bits depend on each other (locks, read-back quirks).
struct ConfigExemption {
  unsigned offset = 0;
  unsigned size = 0;
};

// Plugged into a bus. Resets and scribbles over it; leaves it reset. Returns what is wrong: values
// after reset, accesses of every size and alignment, read-only and writable bits, BAR sizing and
// decoding, the capability list, and reset after all that. Empty: nothing.
std::vector<std::string> check_pci_function(PciFunction& function,
                                            const std::vector<ConfigExemption>& exempt = {});

}  // namespace menura
