// PciBridge: a PCI-to-PCI bridge: a secondary bus seen through windows.
//
// Owner: the machine; owns its secondary bus. Threads: under the machine lock. Source: PCI-to-PCI
// Bridge Architecture 1.2 §3 and §4. I/O windows of 16 bits, a memory window, a 64-bit prefetchable
// window, VGA and ISA modes. Cycles of bus masters below go straight to the root's memory; a bridge
// whose bus master bit is off stops them. Example:
//   PciBridge bridge("bridge0", "pci.1");
//   root.add(bridge, PciBus::devfn(4, 0)).value();   bridge.secondary_bus()->add(card, 0).value();
#pragma once

#include <list>

#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_function.h"

namespace menura {

class PciBridge : public PciFunction {
 public:
  // The bridge that virtual machines have, of no chip maker in particular.
  static constexpr PciIdentity kIdentity{
      .vendor = 0x1b36, .device = 0x0001, .class_code = 0x060400};

  PciBridge(std::string id, std::string bus_name, const PciIdentity& identity = kIdentity,
            Device* parent = nullptr);
  ~PciBridge() override;
  std::string_view type() const override { return "pci-bridge"; }
  PciBus* secondary_bus() override { return &secondary_; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor&) override {}
  Result<void> restored_chip() override;

 private:
  // A range that is forwarded downstream.
  struct Range {
    PciSpace space;
    u64 first;
    u64 last;
    bool operator==(const Range&) const = default;
  };
  struct Window {
    Window(const Range& range, Region& target)
        : region(Region::alias("window", target, range.first, range.last - range.first + 1)) {}
    Region region;
  };

  std::vector<Range> forwarded() const;
  void add_io_ranges(std::vector<Range>& ranges) const;
  void add_vga_ranges(std::vector<Range>& ranges) const;
  void update_windows();
  bool reset_bit() const;

  // Wiring
  Region memory_;  // the secondary side
  Region io_;
  PciBus secondary_;

  // Derived from configuration space
  std::vector<Range> ranges_;
  std::list<Window> windows_;
  bool in_reset_ = false;
};

}  // namespace menura
