// Piix3Ide: the IDE interface of the PIIX3, 8086:7010, function 1 of device 1: two channels at the
// AT's ports, and a bus master at BMIBA.
//
// Owner: the board. Threads: under the machine lock. Source: Intel 82371FB/82371SB data sheet 290550
// §2.3 and §2.8. The timing registers are storage; the channels
// decode their ports from reset on, which UEFI firmware relies on (BIOSes switch it on). Example:
//   Piix3Ide ide("ide", {irqs.isa(14), irqs.isa(15)}, io_root);
//   bus.add(ide, PciBus::devfn(1, 1)).value();   ide.channel(0).plug(0, disk);
#pragma once

#include <array>
#include <memory>

#include "hw/core/window.h"
#include "hw/ide/ide_channel.h"
#include "hw/pci/pci_function.h"

namespace menura {

class Piix3Ide final : public PciFunction {
 public:
  static constexpr unsigned kChannels = 2;

  // io is where the AT's ports appear.
  Piix3Ide(std::string id, std::array<IrqLine, kChannels> irqs, Region& io,
           Device* parent = nullptr);
  ~Piix3Ide() override;

  std::string_view type() const override { return "piix3-ide"; }
  IdeChannel& channel(unsigned n) { return *channels_[n]; }

 protected:
  void config_written(unsigned offset, unsigned size) override;
  void reset_chip(ResetKind kind) override;
  void describe_chip(StateVisitor& v) override;
  Result<void> restored_chip() override;

 private:
  u64 read_bus_master(Access access);
  void write_bus_master(Access access, u64 value);
  void update_ports();

  // Wiring
  Region& io_;
  std::array<std::unique_ptr<IdeChannel>, kChannels> channels_;
  Window<Piix3Ide> bus_master_window_{*this, &Piix3Ide::read_bus_master,
                                      &Piix3Ide::write_bus_master};
  Region bus_master_region_;
};

}  // namespace menura
