#include "machine/tables/dsdt_parts.h"

#include "base/format.h"

namespace menura {

using namespace aml;  // NOLINT: this file is written in it

namespace {

// The interrupts that PIRQ lines may be routed to: 5, 10 and 11.
constexpr u16 kLinkChoices[] = {5, 10, 11};

Aml legacy_device(std::string_view id, std::string_view hardware, const Aml& resources) {
  return device(id, {name("_HID", eisa_id(hardware)), name("_CRS", resources)});
}

// The 32-bit windows: from the end of the RAM on, without ECAM.
Aml low_windows(const AcpiConfig& config) {
  const auto window = [](u64 first, u64 last) {
    return memory_window32(static_cast<u32>(first), static_cast<u32>(last));
  };
  const u64 first = config.pci_hole_start, last = config.pci_hole_end;
  const auto& ecam = config.ecam;
  if (ecam.size == 0 || ecam.base > last) return window(first, last);
  const Aml above = window(ecam.base + ecam.size, last);
  return ecam.base > first ? join({window(first, ecam.base - 1), above}) : above;
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

// The SLP_TYP values of a PC's chips: S5 = 0, S3 = 1, S4 = 2.
Aml sleep_state(std::string_view state, u8 type) {
  return name(state, package({integer(type), integer(type), integer(0), integer(0)}));
}

}  // namespace

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

Aml isa_bridge(u32 address, u64 route_registers) {
  return device(
      "ISA",
      {name("_ADR", integer(address)),
       operation_region("PIRQ", RegionSpace::PciConfig, 0x60, route_registers),
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
  const Aml windows =
      join({bus_numbers(0, 0xff), io_ports(0xcf8, 8), io_window(0, 0xcf7), io_window(0xd00, 0xffff),
            memory_window32(0xa'0000, 0xb'ffff, true), low_windows(config)});
  if (config.pci_hole64_size == 0) return resource_template({windows});
  return resource_template(
      {windows, memory_window64(config.pci_hole64_start,
                                config.pci_hole64_start + config.pci_hole64_size - 1)});
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

Aml common_objects(const AcpiConfig& config) {
  Aml code;
  const auto add = [&](const Aml& part) { code.insert(code.end(), part.begin(), part.end()); };
  if (config.hpet) add(hpet());
  if (config.pvpanic_port) add(pvpanic(*config.pvpanic_port));
  if (config.has_s3) add(sleep_state("\\_S3", 1));
  if (config.has_s4) add(sleep_state("\\_S4", 2));
  add(sleep_state("\\_S5", 0));
  return code;
}

}  // namespace menura
