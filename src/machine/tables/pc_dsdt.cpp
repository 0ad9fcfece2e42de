#include "machine/tables/pc_dsdt.h"

#include "base/format.h"

namespace menura {

using namespace aml;  // NOLINT: this file is written in it

namespace {

constexpr unsigned kSlots = 32;
constexpr unsigned kPins = 4;
// The interrupts that the four PIRQ lines may be routed to: 5, 10 and 11.
constexpr u16 kLinkChoices[] = {5, 10, 11};

// One PIRQ line: its route register lies in the ISA bridge; bit 7 disables it.
Aml interrupt_link(std::string_view link, std::string_view route, unsigned uid) {
  const Aml choices =
      join({interrupt(kLinkChoices[0], true, true), interrupt(kLinkChoices[1], true, true),
            interrupt(kLinkChoices[2], true, true)});
  const Aml register_ = path(route);
  return device(
      link, {name("_HID", eisa_id("PNP0C0F")), name("_UID", integer(uid)),
             name("_PRS", resource_template({choices})),
             method("_STA", 0,
                    {if_(bit_and(register_, integer(0x80)), {return_(integer(0x09))}),
                     return_(integer(0x0b))}),
             method("_DIS", 0, {store(bit_or(register_, integer(0x80)), register_)}),
             name("RBUF", resource_template({interrupt(0, true, true)})),
             method("_CRS", 0,
                    {create_dword_field(path("RBUF"), integer(5), "RIRQ"),
                     store(bit_and(register_, integer(0x0f)), path("RIRQ")), return_(path("RBUF"))},
                    true),
             method("_SRS", 1,
                    {create_dword_field(argument(0), integer(5), "SIRQ"),
                     store(bit_and(path("SIRQ"), integer(0x0f)), register_)},
                    true)});
}

// Pin p (0 = INTA) of slot s is wired to PIRQ (s + p - 1) mod 4.
Aml routing_table() {
  constexpr std::string_view kLinks[] = {"^LNKA", "^LNKB", "^LNKC", "^LNKD"};
  std::vector<Aml> entries;
  for (unsigned slot = 0; slot < kSlots; slot++)
    for (unsigned pin = 0; pin < kPins; pin++)
      entries.push_back(package({integer(u64{slot} << 16 | 0xffff), integer(pin),
                                 path(kLinks[(slot + pin + 3) % 4].substr(1)), integer(0)}));
  return name("_PRT", package(entries));
}

Aml legacy_device(std::string_view id, std::string_view hardware, const Aml& resources) {
  return device(id, {name("_HID", eisa_id(hardware)), name("_CRS", resources)});
}

Aml isa_bridge() {
  return device(
      "ISA",
      {name("_ADR", integer(0x0001'0000)),
       operation_region("PIRQ", RegionSpace::PciConfig, 0x60, 4),
       legacy_device("RTC", "PNP0B00",
                     resource_template({io_ports(0x70, 8), irq_no_flags(1 << 8)})),
       legacy_device(
           "KBD", "PNP0303",
           resource_template({io_ports(0x60, 1), io_ports(0x64, 1), irq_no_flags(1 << 1)})),
       legacy_device("MOU", "PNP0F13", resource_template({irq_no_flags(1 << 12)})),
       device("COM1",
              {name("_HID", eisa_id("PNP0501")), name("_UID", integer(1)),
               name("_CRS", resource_template({io_ports(0x3f8, 8), irq_no_flags(1 << 4)}))})});
}

Aml host_bridge_resources(const AcpiConfig& config) {
  const Aml windows = join({bus_numbers(0, 0xff), io_ports(0xcf8, 8), io_window(0, 0xcf7),
                            io_window(0xd00, 0xffff), memory_window32(0xa'0000, 0xb'ffff, true),
                            memory_window32(static_cast<u32>(config.pci_hole_start),
                                            static_cast<u32>(config.pci_hole_end))});
  if (config.pci_hole64_size == 0) return resource_template({windows});
  return resource_template(
      {windows, memory_window64(config.pci_hole64_start,
                                config.pci_hole64_start + config.pci_hole64_size - 1)});
}

Aml host_bridge(const AcpiConfig& config) {
  return device("PCI0", {name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0)),
                         name("_CRS", host_bridge_resources(config)), isa_bridge()});
}

Aml links() {
  return scope("\\_SB", {field("PCI0.ISA_.PIRQ", FieldAccess::Byte,
                               {{"PRQ0", 8}, {"PRQ1", 8}, {"PRQ2", 8}, {"PRQ3", 8}}),
                         interrupt_link("LNKA", "PRQ0", 0), interrupt_link("LNKB", "PRQ1", 1),
                         interrupt_link("LNKC", "PRQ2", 2), interrupt_link("LNKD", "PRQ3", 3)});
}

Aml processors(const AcpiConfig& config) {
  Aml all;
  for (size_t i = 0; i < config.apic_ids.size(); i++) {
    const Aml one =
        device(format("C{:03X}", i), {name("_HID", string("ACPI0007")), name("_UID", integer(i))});
    all.insert(all.end(), one.begin(), one.end());
  }
  return scope("\\_SB", all);
}

Aml hpet() {
  return scope(
      "\\_SB",
      {device("HPET", {name("_HID", eisa_id("PNP0103")), name("_UID", integer(0)),
                       name("_CRS", resource_template({fixed_memory(0xfed0'0000, 0x400)}))})});
}

Aml pvpanic(u16 port) {
  return scope("\\_SB.PCI0.ISA_",
               {device("PEVT", {name("_HID", string("QEMU0001")),
                                name("_CRS", resource_template({io_ports(port, 1)})),
                                name("_STA", integer(0xf))})});
}

// The SLP_TYP values of the PIIX4: S5 = 0, S3 = 1, S4 = 2.
Aml sleep_state(std::string_view state, u8 type) {
  return name(state, package({integer(type), integer(type), integer(0), integer(0)}));
}

}  // namespace

Aml build_pc_dsdt(const AcpiConfig& config) {
  Aml code = join({scope("\\_SB", {host_bridge(config)}), links(),
                   scope("\\_SB.PCI0", {routing_table()}), processors(config)});
  const auto add = [&](const Aml& part) { code.insert(code.end(), part.begin(), part.end()); };
  if (config.hpet) add(hpet());
  if (config.pvpanic_port) add(pvpanic(*config.pvpanic_port));
  if (config.has_s3) add(sleep_state("\\_S3", 1));
  if (config.has_s4) add(sleep_state("\\_S4", 2));
  add(sleep_state("\\_S5", 0));
  return code;
}

}  // namespace menura
