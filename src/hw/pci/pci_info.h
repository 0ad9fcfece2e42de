// What `info pci` prints: the functions below a bus, and one function's configuration space.
//
// Owner: hw/pci. Threads: under the machine lock. Source: PCI Local Bus 3.0 appendix D for the names.
// Example: `print_pci(pmc.root_bus())` gives "  Bus  0, device   1, function 0:\n    ISA bridge: ...".
#pragma once

#include <string>
#include <string_view>

#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_function.h"

namespace menura {

// Of the class and sub-class in bits 15..0: "IDE controller"; empty when nobody named it.
std::string_view pci_class_name(u16 class_and_subclass);

// Every function of the bus and of those behind its bridges.
std::string print_pci(const PciBus& bus);

// Sixteen bytes a line, below each line the bits that a guest can write or clear.
std::string print_config_space(const PciFunction& function);

}  // namespace menura
