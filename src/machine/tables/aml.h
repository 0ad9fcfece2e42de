// AML: the byte code of ACPI's DSDT, built from nested expressions.
//
// Owner: machine/tables. Threads: pure functions. Source: ACPI 6.4 §20 (AML) and §6.4 (resources).
// Names are four characters or paths ("\\_SB.PCI0", "^LNKA"). Example:
//   Aml dsdt = scope("\\_SB", {device("PCI0", {name("_HID", eisa_id("PNP0A03"))})});
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace menura::aml {

// A piece of AML; pieces concatenate.
using Aml = std::vector<u8>;
using List = std::initializer_list<Aml>;

Aml join(List parts);

// Data. integer() takes the shortest encoding.
Aml integer(u64 value);
Aml string(std::string_view text);
Aml buffer(const Aml& content);
Aml package(const std::vector<Aml>& elements);
Aml eisa_id(std::string_view id);  // "PNP0A03" as a compressed integer
Aml path(std::string_view name);   // a NameString

// Named objects.
Aml name(std::string_view name, const Aml& value);
Aml scope(std::string_view name, List body);
Aml scope(std::string_view name, const Aml& body);
Aml device(std::string_view name, List body);
Aml device(std::string_view name, const Aml& body);
Aml method(std::string_view name, unsigned arguments, List body, bool serialized = false);

enum class RegionSpace : u8 { SystemMemory = 0, SystemIo = 1, PciConfig = 2 };
Aml operation_region(std::string_view name, RegionSpace space, u64 offset, u64 length);
struct FieldUnit {
  std::string_view name;  // empty: skipped bits
  unsigned width_bits;
};
enum class FieldAccess : u8 { Any = 0, Byte = 1, Word = 2, DWord = 3 };
Aml field(std::string_view region, FieldAccess access, std::initializer_list<FieldUnit> units);

// Statements and expressions.
Aml local(unsigned n);
Aml argument(unsigned n);
Aml store(const Aml& value, const Aml& target);
Aml bit_and(const Aml& a, const Aml& b);
Aml bit_or(const Aml& a, const Aml& b);
Aml equal(const Aml& a, const Aml& b);
Aml shift_left(const Aml& a, const Aml& b);
Aml find_set_right_bit(const Aml& a);
Aml decrement(const Aml& target);
Aml index(const Aml& container, const Aml& position);
Aml if_(const Aml& condition, List body);
Aml else_(List body);
Aml return_(const Aml& value);
Aml notify(const Aml& device, const Aml& value);
Aml call(std::string_view method, List arguments);
Aml create_dword_field(const Aml& buffer, const Aml& byte_index, std::string_view name);
Aml create_word_field(const Aml& buffer, const Aml& byte_index, std::string_view name);

// Resources: the parts of a resource_template.
Aml resource_template(List descriptors);
Aml io_ports(u16 base, u8 length);
Aml irq_no_flags(u16 irq_mask);  // the ISA form
Aml interrupt(u32 gsi, bool level,
              bool shared);  // extended, active high when edge, high when level
Aml fixed_memory(u32 base, u32 length);
Aml bus_numbers(u16 first, u16 last);
Aml io_window(u16 first, u16 last);
Aml memory_window32(u32 first, u32 last, bool cacheable = false);
Aml memory_window64(u64 first, u64 last, bool cacheable = true);

}  // namespace menura::aml
