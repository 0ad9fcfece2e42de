#include "machine/tables/pc_dsdt.h"

#include "base/format.h"
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

std::string slot_name(unsigned slot) { return format("S{:02X}_", slot << 3); }

// The slots of cards, and what the ports of hot-plugging (AE00h) are for. Notify 1: look for a card; 3:
// let it go.
Aml hotplug() {
  constexpr unsigned kFirstSlot = 2;
  static_assert(kPciHotplugEvent == 9, "its method is _E09");
  Aml body = join({operation_region("PCST", RegionSpace::SystemIo, 0xae00, 12),
                   field("PCST", FieldAccess::DWord, {{"PCIU", 32}, {"PCID", 32}, {"B0EJ", 32}})});
  Aml tell;
  for (unsigned slot = kFirstSlot; slot < kPciSlots; slot++) {
    const Aml its_bit = integer(u64{1} << slot);
    body = join({body, device(slot_name(slot),
                              {name("_SUN", integer(slot)), name("_ADR", integer(u64{slot} << 16)),
                               method("_EJ0", 1, {store(its_bit, path("B0EJ"))})})});
    tell = join(
        {tell, if_(bit_and(argument(0), its_bit), {notify(path(slot_name(slot)), argument(1))})});
  }
  const Aml ask = method(
      "PCNT", 0,
      {call("DVNT", {path("PCIU"), integer(1)}), call("DVNT", {path("PCID"), integer(3)})}, true);
  return join({scope("\\_SB.PCI0", join({body, method("DVNT", 2, {tell}), ask})),
               scope("\\_GPE", {method("_E09", 0, {call("\\_SB.PCI0.PCNT", {})})})});
}

}  // namespace

Aml build_pc_dsdt(const AcpiConfig& config) {
  return join({scope("\\_SB", {host_bridge(config)}), links(),
               scope("\\_SB.PCI0", {routing_table()}), hotplug(), processors(config),
               common_objects(config)});
}

}  // namespace menura
