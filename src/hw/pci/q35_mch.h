// Q35Mch: the host bridge of the 82Q35 memory controller hub, 8086:29C0, device 0 of bus 0.
//
// Owner: the board; owns the root bus, configuration mechanism #1 and the enhanced one (ECAM). Threads:
// under the machine lock. Source: Intel 3 Series Express Chipset data sheet 316966 §5.1. It decides what
// answers in the first 16 MiB (PAM, SMRAM, LAC's hole), where ECAM is (PCIEXBAR), and hides TSEG, the
// memory of SMM below the top of low DRAM. Example:
//   Q35Mch mch("mch", {.host = wiring, .all_ram = ram, .low_ram = 2 * GiB});
//   mch.root_bus().add(lpc, PciBus::devfn(31, 0)).value();   mch.set_pirqs(lpc);
// Deviations: the DRAM controller, DMI, graphics and the management engine are absent; EPBAR, MCHBAR
// and DMIBAR are storage, and there is no capability list; register 50h, where UEFI firmware looks for a larger TSEG, is storage, by
// which firmware sees that there is none. H_SMRAME is storage. Without SMM there is no TSEG.
#pragma once

#include <array>
#include <optional>

#include "hw/core/window.h"
#include "hw/pci/host_segments.h"
#include "hw/pci/pci_function.h"

namespace menura {

struct Q35MchWiring {
  HostBridgeWiring host;
  Region& all_ram;  // from its first byte on; shown by TSEG
  u64 low_ram = 0;  // bytes below 4 GiB
};

class Q35Mch final : public PciFunction {
 public:
  // Where the enhanced configuration mechanism answers.
  struct Ecam {
    u64 base = 0;
    u64 size = 0;  // 1 MiB a bus
    bool operator==(const Ecam&) const = default;
  };

  Q35Mch(std::string id, const Q35MchWiring& wiring, Device* parent = nullptr);
  std::string_view type() const override { return "mch"; }

  PciBus& root_bus() { return root_.bus(); }
  // For CF8h.
  Region& config_ports() { return root_.config_ports().region(); }
  void set_reset_control(MmioHandler& ports) { root_.config_ports().set_behind(&ports); }
  // Who takes PIRQA (pin 0) to PIRQH (7).
  void set_pirqs(IrqSink& pirqs) { root_.set_pirqs(pirqs); }
  // As PCIEXBAR has it; nothing while it is off.
  std::optional<Ecam> ecam() const;

  // The PIRQ that a slot's INTA# (pin 0) to INTD# (3) is wired to: E to H in turn for the slots of
  // cards, A to D for the ICH9's own devices (25 to 31), as its route registers have it after reset.
  static unsigned pirq_of(unsigned slot, unsigned pin) {
    return slot < 25 ? 4 + (slot + pin) % PciBus::kPins : pin;
  }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  // TSEG: SMM's memory, and what others find there.
  struct Tseg {
    Tseg(Region& all_ram, Region& nobody, u64 first, u64 size);
    u64 first, size;
    Region memory, hidden;
  };

  u64 read_ecam(Access access);
  void write_ecam(Access access, u64 value);
  u64 read_nobody(Access) { return ~u64{0}; }
  void write_nobody(Access, u64) {}
  Region make_ecam(u64 size);
  HostSegments::Hole hole() const;
  void follow_registers();
  void update_ecam();
  void update_tseg();

  // Wiring
  const Q35MchWiring wiring_;
  HostRoot root_;
  HostSegments segments_;
  Window<Q35Mch> ecam_window_{*this, &Q35Mch::read_ecam, &Q35Mch::write_ecam};
  Window<Q35Mch> nobody_window_{*this, &Q35Mch::read_nobody, &Q35Mch::write_nobody};
  Region nobody_;
  // One for each size: a guest may move the window by an access through it, so none goes away.
  std::array<Region, 3> ecam_regions_;
  Region* ecam_mapped_ = nullptr;
  std::optional<Tseg> tseg_;

  // Derived from configuration space
  u8 esmramc_ = 0;  // before the write in progress
};

}  // namespace menura
