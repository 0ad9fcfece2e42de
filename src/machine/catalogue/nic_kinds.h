// What the makers of network cards share: their properties, their cable and their boot ROM.
//
// Owner: machine/catalogue. Threads: under the machine lock. Example:
//   NicProperties config;  TRY(read_properties(config, options, "e1000"));
//   const NicCable cable = TRY(machine.netdevs().plug({id, "e1000"}, config.nic));
#pragma once

#include "hw/pci/option_rom.h"
#include "machine/catalogue/device_kinds.h"
#include "machine/netdevs.h"

namespace menura {

// Of a card on a PCI bus.
struct NicProperties {
  PciPlace place;
  NicOptions nic;
  std::optional<i32> bootindex;
  std::optional<std::string> romfile;
  bool rombar = true;
  void describe(PropertyVisitor& p);
};

// The ROM that is to be in the card's BAR: romfile, or the one that iPXE has for the model; none when
// that is not installed, or not wanted (rombar=off, romfile=).
Result<OptionRom> nic_rom(const std::string& id, const NicProperties& properties,
                          std::string_view ipxe_name);
// Plugs the card, and puts it in the boot order.
Result<void> plug_nic(Machine& machine, PciFunction& card, const NicProperties& properties,
                      std::string_view kind);

}  // namespace menura
