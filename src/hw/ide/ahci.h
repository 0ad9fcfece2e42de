// Ahci: a Serial ATA controller of six ports as the ICH9's, 8086:2922, in AHCI mode.
//
// Owner: the board (device 1Fh function 2 of a q35) or the catalogue. Threads: under the machine
// lock. Source: Serial ATA AHCI 1.3.1 §3.1 (generic host control) and §10.6 (interrupts); Intel 82801IB
// (ICH9) data sheet 316972 §13 (configuration space) and §14. Example:
//   Ahci ahci("ahci", "ide");   bus.add(ahci, PciBus::devfn(0x1f, 2)).value();
//   ahci.port(0).plug(0, disk);
// Deviations: AHCI mode only (no IDE mode, no index/data pair); one message; no coalescing of
// completions, enclosure management or staggered spin-up.
#pragma once

#include <array>
#include <memory>

#include "hw/core/register_file.h"
#include "hw/core/window.h"
#include "hw/ide/ahci_port.h"
#include "hw/pci/pci_function.h"
#include "hw/pci/pci_msi.h"
#include "hw/pci/pci_power.h"

namespace menura {

enum class AhciReg : u8 { Cap, Ghc, Is, Pi, Vs, kCount };

class Ahci final : public PciFunction {
 public:
  static constexpr unsigned kPorts = 6;

  // The ports are the connectors NAME.0 to NAME.5.
  Ahci(std::string id, const std::string& connectors, Device* parent = nullptr);
  ~Ahci() override;

  std::string_view type() const override { return "ahci"; }
  AhciPort& port(unsigned n) { return *ports_[n]; }

 protected:
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  u64 read_registers(Access access);
  void write_registers(Access access, u64 value);
  void written(AhciReg reg, u64 value, u64 mask);
  void update_interrupt(AhciPort::Interrupt news);
  bool wants_interrupt() const;

  // Wiring
  std::array<std::unique_ptr<AhciPort>, kPorts> ports_;
  Window<Ahci> window_{*this, &Ahci::read_registers, &Ahci::write_registers};
  Region region_;
  PciPower power_{*this};
  PciMsi msi_{*this, {.vectors = 1, .address64 = true, .maskable = false}};

  // State
  RegisterFile<AhciReg, static_cast<size_t>(AhciReg::kCount)> regs_;
};

}  // namespace menura
