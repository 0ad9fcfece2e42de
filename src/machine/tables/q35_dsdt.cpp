#include "machine/tables/q35_dsdt.h"

#include "base/format.h"
#include "machine/tables/dsdt_parts.h"

namespace menura {

using namespace aml;  // NOLINT: this file is written in it

namespace {

constexpr unsigned kPirqs = 8;
constexpr u32 kFirstGsi = 16;
constexpr unsigned kFirstOwnSlot = 25;  // the ICH9's devices

std::string link_name(unsigned pirq) { return format("LNK{}", static_cast<char>('A' + pirq)); }
std::string route_name(unsigned pirq) { return format("PRQ{}", pirq); }

// The cards' slots take PIRQE to PIRQH in turn; the ICH9's own devices PIRQA to PIRQD by their pin.
unsigned pirq_of(unsigned slot, unsigned pin) {
  return slot < kFirstOwnSlot ? 4 + (slot + pin) % 4 : pin;
}

enum class To : u8 { Links, Ioapic };
Aml routes(std::string_view table, To to) {
  std::vector<Aml> entries;
  for (unsigned slot = 0; slot < kPciSlots; slot++)
    for (unsigned pin = 0; pin < kPciPins; pin++) {
      const unsigned pirq = pirq_of(slot, pin);
      const Aml source = to == To::Links ? path(link_name(pirq)) : integer(0);
      const Aml index = integer(to == To::Links ? 0 : kFirstGsi + pirq);
      entries.push_back(package({integer(u64{slot} << 16 | 0xffff), integer(pin), source, index}));
    }
  return name(table, package(entries));
}

Aml routing_method() {
  return method("_PRT", 0, {if_(path("\\PICF"), {return_(path("PRTA"))}), return_(path("PRTP"))});
}

// The operating system may have what PCI Express capabilities hold and the slots of the root ports, but
// no power management events and error reports, which there are none of.
Aml negotiation() {
  constexpr u64 kHotplug = 1 << 0, kCapabilityControl = 1 << 4, kUnknownUuid = 1 << 2;
  const Aml pci_host_bridge = buffer({0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57,
                                      0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66});
  return method(
      "_OSC", 4,
      {create_dword_field(argument(3), integer(0), "CDW1"),
       if_(equal(argument(0), pci_host_bridge),
           {create_dword_field(argument(3), integer(8), "CDW3"),
            store(bit_and(path("CDW3"), integer(kCapabilityControl | kHotplug)), path("CDW3"))}),
       else_({store(bit_or(path("CDW1"), integer(kUnknownUuid)), path("CDW1"))}),
       return_(argument(3))},
      true);
}

Aml host_bridge(const AcpiConfig& config) {
  return device("PCI0", {name("_HID", eisa_id("PNP0A08")), name("_CID", eisa_id("PNP0A03")),
                         name("_UID", integer(0)), name("_CRS", host_bridge_resources(config)),
                         negotiation(), isa_bridge(0x001f'0000, 0x0c)});
}

// ECAM belongs to the board: systems look for it here.
Aml board_memory(const AcpiConfig& config) {
  const u32 base = static_cast<u32>(config.ecam.base), size = static_cast<u32>(config.ecam.size);
  return device("MBRD", {name("_HID", eisa_id("PNP0C02")), name("_UID", integer(0)),
                         name("_CRS", resource_template({fixed_memory(base, size)}))});
}

Aml links() {
  Aml all = field("PCI0.ISA_.PIRQ", FieldAccess::Byte,
                  {{"PRQ0", 8},
                   {"PRQ1", 8},
                   {"PRQ2", 8},
                   {"PRQ3", 8},
                   {"", 32},
                   {"PRQ4", 8},
                   {"PRQ5", 8},
                   {"PRQ6", 8},
                   {"PRQ7", 8}});
  for (unsigned pirq = 0; pirq < kPirqs; pirq++)
    all = join({all, interrupt_link(link_name(pirq), route_name(pirq), pirq)});
  return scope("\\_SB", all);
}

// \_PIC(1): the operating system uses the IOAPIC.
Aml interrupt_model() {
  return join(
      {name("\\PICF", integer(0)), method("\\_PIC", 1, {store(argument(0), path("\\PICF"))})});
}

}  // namespace

Aml build_q35_dsdt(const AcpiConfig& config) {
  return join({interrupt_model(), scope("\\_SB", {board_memory(config), host_bridge(config)}),
               links(),
               scope("\\_SB.PCI0",
                     {routes("PRTP", To::Links), routes("PRTA", To::Ioapic), routing_method()}),
               processors(config), common_objects(config)});
}

}  // namespace menura
