// PciConfigPorts: configuration mechanism #1: CONFADD at CF8h, CONFDATA at CFCh.
//
// Owner: a host bridge (a member). Threads: under the machine lock. Source: PCI Local Bus 3.0
// §3.2.2.3.2, 82441FX §3.1. Only a dword access reaches CONFADD; others at CF8h..CFBh are ordinary
// I/O that somebody behind may answer (the PIIX3's reset control at CF9h).
// Example: `io.map(0xcf8, ports.region());  out32(0xcf8, 0x8000'0800);  id = in32(0xcfc);`
#pragma once

#include "hw/pci/pci_bus.h"

namespace menura {

class PciConfigPorts final : public MmioHandler {
 public:
  explicit PciConfigPorts(PciBus& root) : root_(root) {}

  // Eight bytes, for CF8h.
  Region& region() { return region_; }
  // Takes what CONFADD leaves, byte by byte at offsets 0 to 3; null: nobody.
  void set_behind(MmioHandler* behind) { behind_ = behind; }
  void reset() { confadd_ = 0; }
  void describe(StateVisitor& v) { v.field("confadd", confadd_); }

  u64 read(Access access) override;
  void write(Access access, u64 value) override;

 private:
  bool to_function() const;
  PciAddress target() const;
  unsigned register_of(Access access) const;
  u8 read_behind(u64 offset);

  // Wiring
  PciBus& root_;
  MmioHandler* behind_ = nullptr;
  Region region_ = Region::mmio("pci-config", 8, *this, {.valid_max = 4});

  // State
  u32 confadd_ = 0;
};

}  // namespace menura
