// PciMsiX: the MSI-X capability: up to 2048 vectors, each with its own message and mask, in a table in
// one of the function's BARs, and a bit array of those that are pending.
//
// Owner: a PciFunction (a member, made in its constructor before the BAR is added). Threads: under
// the machine lock. Source: PCI Local Bus 3.0 §6.8.2. Example:
//   Region bar1_ = Region::container("card.msix", 4096);
//   PciMsiX msix_{*this, {.vectors = 3, .bar = 1, .table_offset = 0, .pba_offset = 0x800}, bar1_};
#pragma once

#include "hw/core/window.h"
#include "hw/pci/pci_msi.h"

namespace menura {

struct PciMsiXConfig {
  unsigned vectors = 1;  // 1 to 2048
  unsigned bar = 0;      // 0 to 5; table and pending bits share it
  u32 table_offset = 0;  // multiples of 8; table of 16 bytes a vector,
  u32 pba_offset = 0;    // pending bits of 8 bytes for each 64 vectors
};

class PciMsiX final : public PciCapability {
 public:
  // container: the region of that BAR, in which the table and the pending bits appear.
  PciMsiX(PciFunction& function, const PciMsiXConfig& config, Region& container);

  bool enabled() const;
  unsigned vectors() const { return config_.vectors; }
  MsiMessage message(unsigned vector) const;
  // By its own mask bit, or the whole function's.
  bool masked(unsigned vector) const;
  bool pending(unsigned vector) const;
  // Sends the vector's message, or keeps it pending while masked (Coalesced when it already was).
  // Ignored while disabled. vector < vectors().
  IrqStatus notify(unsigned vector);
  // A device that no longer has a reason for the interrupt takes it back.
  void clear_pending(unsigned vector);
  // Null: nobody listens. The listener at once hears of the vectors that are open.
  void set_listener(MsiListener* listener) { audience_.set_listener(listener); }

 private:
  void config_written() override { update_all(); }
  void reset() override;
  void describe(StateVisitor& v) override;
  Result<void> restored() override;
  bool replaces_intx() const override { return enabled(); }

  u64 read_table(Access access);
  void write_table(Access access, u64 value);
  u64 read_pba(Access access);
  void write_pba(Access, u64) {}  // read-only
  bool open(unsigned vector) const;
  void update(unsigned vector);
  void update_all();

  struct Entry {
    u64 address = 0;
    u32 data = 0;
    u32 control = 1;  // bit 0: masked
    void describe(StateVisitor& v);
  };

  // Configuration
  PciMsiXConfig config_;

  // Wiring
  Window<PciMsiX> table_window_{*this, &PciMsiX::read_table, &PciMsiX::write_table};
  Window<PciMsiX> pba_window_{*this, &PciMsiX::read_pba, &PciMsiX::write_pba};
  Region table_region_;
  Region pba_region_;
  MsiAudience audience_;

  // State
  std::vector<Entry> table_;
  std::vector<u64> pending_;
};

}  // namespace menura
