// PciExpress: the PCI Express capability, version 2: what a function says of its place in the
// hierarchy and of its link.
//
// Owner: a PciFunction (a member, made in its constructor). Threads: under the machine lock. Source:
// PCI Express Base 3.0 §7.8. The link has one lane of 2.5 GT/s; controls of devices and
// links are storage.
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

  // A root port's slot: its control and status registers.
  enum SlotStatus : u16 {
    kButtonPressed = 1 << 0,
    kPresenceChanged = 1 << 3,
    kCommandCompleted = 1 << 4,
    kPresent = 1 << 6,
    kLinkChanged = 1 << 8
  };
  enum SlotControl : u16 {
    kHotplugInterrupt = 1 << 5,
    kPowerIndicatorOff = 3 << 8,
    kPowerOff = 1 << 10
  };
  u16 slot_control() const;
  void set_slot_control(u16 value);
  u16 slot_status() const;
  // Adds to what the guest has not cleared yet.
  void report(u16 changes);
  // Something is there, and its link is up.
  void set_present(bool present);
};

}  // namespace menura
