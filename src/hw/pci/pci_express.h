// PciExpress: the PCI Express capability, version 2: what a function says of its place in the
// hierarchy and of its link.
//
// Owner: a PciFunction (a member, made in its constructor). Threads: under the machine lock. Source:
// PCI Express Base 3.0 §7.8. The link is always up, one lane of 2.5 GT/s; controls are storage.
// Example: `PciExpress express_{*this, PciExpress::Type::Endpoint};`
#pragma once

#include "hw/pci/pci_function.h"

namespace menura {

class PciExpress final : public PciCapability {
 public:
  enum class Type : u8 { Endpoint = 0, RootPort = 4, BridgeToPci = 7, IntegratedEndpoint = 9 };
  struct Port {
    u8 number = 0;  // of a root port
    u16 slot = 0;   // its physical number
  };

  PciExpress(PciFunction& function, Type type) : PciExpress(function, type, Port{}) {}
  PciExpress(PciFunction& function, Type type, const Port& port);

  // A root port's slot holds something.
  void set_present(bool present);
};

}  // namespace menura
