// Ich9Smbus: the ICH9's SMBus host controller, 8086:2930, device 31 function 3.
//
// Owner: the board. Threads: under the machine lock. Source: Intel ICH9 data sheet 316972 §20. The
// protocols and registers that it shares with the PIIX4's are SmbusHost's; HOSTC enables it. Example:
//   Ich9Smbus smbus("smbus");   bus.add(smbus, PciBus::devfn(31, 3)).value();
// Deviations: as SmbusHost; no memory BAR, no I2C mode, no SMI; the host is never in use by another.
#pragma once

#include "hw/acpi/smbus_host.h"
#include "hw/core/window.h"
#include "hw/pci/pci_function.h"

namespace menura {

class Ich9Smbus final : public PciFunction {
 public:
  explicit Ich9Smbus(std::string id, Device* parent = nullptr);
  std::string_view type() const override { return "ICH9-SMB"; }
  SmbusHost& host() { return host_; }

 protected:
  void reset_chip(ResetKind) override { host_.reset(); }
  void describe_chip(StateVisitor& v) override { v.field("host", host_); }

 private:
  u64 read(Access access);
  void write(Access access, u64 value);

  // Wiring
  Window<Ich9Smbus> window_{*this, &Ich9Smbus::read, &Ich9Smbus::write};
  Region region_;

  // State
  SmbusHost host_;
};

}  // namespace menura
