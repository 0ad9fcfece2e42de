#include "machine/tables/pc_dsdt.h"

#include "machine/tables/dsdt_parts.h"

namespace menura {

using namespace aml;  // NOLINT: this file is written in it

namespace {

// Pin p (0 = INTA) of slot s is wired to PIRQ (s + p - 1) mod 4.
Aml routing_table() {
  constexpr std::string_view kLinks[] = {"LNKA", "LNKB", "LNKC", "LNKD"};
  std::vector<Aml> entries;
  for (unsigned slot = 0; slot < kPciSlots; slot++)
    for (unsigned pin = 0; pin < kPciPins; pin++)
      entries.push_back(package({integer(u64{slot} << 16 | 0xffff), integer(pin),
                                 path(kLinks[(slot + pin + 3) % 4]), integer(0)}));
  return name("_PRT", package(entries));
}

Aml host_bridge(const AcpiConfig& config) {
  return device("PCI0", {name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0)),
                         name("_CRS", host_bridge_resources(config)), isa_bridge(0x0001'0000, 4)});
}

Aml links() {
  return scope("\\_SB", {field("PCI0.ISA_.PIRQ", FieldAccess::Byte,
                               {{"PRQ0", 8}, {"PRQ1", 8}, {"PRQ2", 8}, {"PRQ3", 8}}),
                         interrupt_link("LNKA", "PRQ0", 0), interrupt_link("LNKB", "PRQ1", 1),
                         interrupt_link("LNKC", "PRQ2", 2), interrupt_link("LNKD", "PRQ3", 3)});
}

}  // namespace

Aml build_pc_dsdt(const AcpiConfig& config) {
  return join({scope("\\_SB", {host_bridge(config)}), links(),
               scope("\\_SB.PCI0", {routing_table()}), processors(config), common_objects(config)});
}

}  // namespace menura
