#include "machine/tables/aml.h"

#include <array>

#include "base/check.h"

namespace menura::aml {

namespace {

// Opcodes, ACPI 6.4 table 20.2.
enum : u8 {
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDWordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQWordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kMethodOp = 0x14,
  kDualNamePrefix = 0x2e,
  kMultiNamePrefix = 0x2f,
  kExtOpPrefix = 0x5b,
  kRootChar = 0x5c,
  kParentChar = 0x5e,
  kLocal0 = 0x60,
  kArg0 = 0x68,
  kStoreOp = 0x70,
  kDecrementOp = 0x76,
  kShiftLeftOp = 0x79,
  kAndOp = 0x7b,
  kOrOp = 0x7d,
  kFindSetRightBitOp = 0x82,
  kCreateDWordFieldOp = 0x8a,
  kCreateWordFieldOp = 0x8b,
  kNotifyOp = 0x86,
  kIndexOp = 0x88,
  kLEqualOp = 0x93,
  kIfOp = 0xa0,
  kElseOp = 0xa1,
  kReturnOp = 0xa4,
};
enum : u8 { kExtOpRegion = 0x80, kExtField = 0x81, kExtDevice = 0x82 };

void append(Aml& to, const Aml& part) { to.insert(to.end(), part.begin(), part.end()); }

template <class T>
void append_le(Aml& to, T value) {
  for (size_t i = 0; i < sizeof value; i++) to.push_back(static_cast<u8>(value >> (8 * i)));
}

// PkgLength counts itself; extra is for fields, whose length stands for something else.
Aml package_length(size_t content, bool counts_itself) {
  const auto encoded_size = [](size_t n) -> size_t {
    return n < 0x40 ? 1 : n < 0x1000 ? 2 : n < 0x10'0000 ? 3 : 4;
  };
  size_t size = encoded_size(content);
  size_t length = content;
  if (counts_itself) {
    size = encoded_size(content + size);
    length = content + size;
  }
  Aml out;
  if (size == 1) return {static_cast<u8>(length)};
  out.push_back(static_cast<u8>((size - 1) << 6 | (length & 0xf)));
  for (size_t i = 1; i < size; i++) out.push_back(static_cast<u8>(length >> (4 + 8 * (i - 1))));
  return out;
}

Aml with_length(std::initializer_list<u8> opcode, const Aml& content) {
  Aml out(opcode);
  append(out, package_length(content.size(), true));
  append(out, content);
  return out;
}

void append_segment(Aml& to, std::string_view segment) {
  ensure(!segment.empty() && segment.size() <= 4, "an ACPI name segment has 1 to 4 characters");
  for (size_t i = 0; i < 4; i++)
    to.push_back(static_cast<u8>(i < segment.size() ? segment[i] : '_'));
}

Aml binary(u8 opcode, const Aml& a, const Aml& b) {
  return join({{opcode}, a, b, {0x00}});  // no target
}

Aml named(u8 opcode, std::string_view name, const Aml& body) {
  return with_length({opcode}, join({path(name), body}));
}

// Address space descriptors, §6.4.3.5: type, general flags, type flags, five numbers.
template <class T>
Aml address_space(u8 tag, u8 resource_type, u8 type_flags, T first, T last) {
  Aml out{tag};
  append_le(out, static_cast<u16>(3 + 5 * sizeof(T)));
  // Producer, positive decode, both ends fixed.
  append(out, {resource_type, 0x0c, type_flags});
  append_le(out, T{0});
  append_le(out, first);
  append_le(out, last);
  append_le(out, T{0});
  append_le(out, static_cast<T>(last - first + 1));
  return out;
}

}  // namespace

Aml join(List parts) {
  Aml out;
  for (const Aml& part : parts) append(out, part);
  return out;
}

Aml integer(u64 value) {
  if (value <= 1) return {static_cast<u8>(value)};  // ZeroOp, OneOp
  Aml out;
  if (value <= 0xff) {
    out.push_back(kBytePrefix);
    append_le(out, static_cast<u8>(value));
  } else if (value <= 0xffff) {
    out.push_back(kWordPrefix);
    append_le(out, static_cast<u16>(value));
  } else if (value <= 0xffff'ffff) {
    out.push_back(kDWordPrefix);
    append_le(out, static_cast<u32>(value));
  } else {
    out.push_back(kQWordPrefix);
    append_le(out, value);
  }
  return out;
}

Aml string(std::string_view text) {
  Aml out{kStringPrefix};
  out.insert(out.end(), text.begin(), text.end());
  out.push_back(0);
  return out;
}

Aml buffer(const Aml& content) {
  return with_length({kBufferOp}, join({integer(content.size()), content}));
}

Aml package(const std::vector<Aml>& elements) {
  ensure(elements.size() < 256, "a package has at most 255 elements");
  Aml content{static_cast<u8>(elements.size())};
  for (const Aml& element : elements) append(content, element);
  return with_length({kPackageOp}, content);
}

// Three letters of five bits and four hexadecimal digits, big-endian.
Aml eisa_id(std::string_view id) {
  ensure(id.size() == 7, "an EISA id is three letters and four digits");
  const auto digit = [](char c) -> u32 {
    return static_cast<u32>(c <= '9' ? c - '0' : c - 'A' + 10);
  };
  const auto letter = [](char c) -> u32 { return static_cast<u32>(c - '@') & 0x1f; };
  const u32 packed = letter(id[0]) << 26 | letter(id[1]) << 21 | letter(id[2]) << 16 |
                     digit(id[3]) << 12 | digit(id[4]) << 8 | digit(id[5]) << 4 | digit(id[6]);
  return integer(__builtin_bswap32(packed));
}

Aml path(std::string_view name) {
  Aml out;
  if (name.starts_with('\\')) {
    out.push_back(kRootChar);
    name.remove_prefix(1);
  }
  while (name.starts_with('^')) {
    out.push_back(kParentChar);
    name.remove_prefix(1);
  }
  std::vector<std::string_view> segments;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    segments.push_back(name.substr(0, dot));
    name = dot == std::string_view::npos ? std::string_view{} : name.substr(dot + 1);
  }
  if (segments.empty()) out.push_back(0);
  if (segments.size() == 2) out.push_back(kDualNamePrefix);
  if (segments.size() > 2) append(out, {kMultiNamePrefix, static_cast<u8>(segments.size())});
  for (const std::string_view segment : segments) append_segment(out, segment);
  return out;
}

Aml name(std::string_view name, const Aml& value) { return join({{kNameOp}, path(name), value}); }

Aml scope(std::string_view name, List body) { return named(kScopeOp, name, join(body)); }
Aml scope(std::string_view name, const Aml& body) { return named(kScopeOp, name, body); }

Aml device(std::string_view name, const Aml& body) {
  return with_length({kExtOpPrefix, kExtDevice}, join({path(name), body}));
}
Aml device(std::string_view name, List body) { return device(name, join(body)); }

Aml method(std::string_view name, unsigned arguments, List body, bool serialized) {
  ensure(arguments <= 7, "a method has at most 7 arguments");
  const u8 flags = static_cast<u8>(arguments | (serialized ? 0x08 : 0));
  return with_length({kMethodOp}, join({path(name), {flags}, join(body)}));
}

Aml operation_region(std::string_view name, RegionSpace space, u64 offset, u64 length) {
  return join({{kExtOpPrefix, kExtOpRegion},
               path(name),
               {static_cast<u8>(space)},
               integer(offset),
               integer(length)});
}

Aml field(std::string_view region, FieldAccess access, std::initializer_list<FieldUnit> units) {
  Aml content = path(region);
  content.push_back(static_cast<u8>(access));  // no lock, preserve
  for (const FieldUnit& unit : units) {
    if (unit.name.empty())
      content.push_back(0x00);
    else
      append_segment(content, unit.name);
    append(content, package_length(unit.width_bits, false));
  }
  return with_length({kExtOpPrefix, kExtField}, content);
}

Aml local(unsigned n) { return {static_cast<u8>(kLocal0 + n)}; }
Aml argument(unsigned n) { return {static_cast<u8>(kArg0 + n)}; }
Aml store(const Aml& value, const Aml& target) { return join({{kStoreOp}, value, target}); }
Aml bit_and(const Aml& a, const Aml& b) { return binary(kAndOp, a, b); }
Aml bit_or(const Aml& a, const Aml& b) { return binary(kOrOp, a, b); }
Aml equal(const Aml& a, const Aml& b) { return join({{kLEqualOp}, a, b}); }
Aml shift_left(const Aml& a, const Aml& b) { return binary(kShiftLeftOp, a, b); }
Aml find_set_right_bit(const Aml& a) { return join({{kFindSetRightBitOp}, a, {0x00}}); }
Aml index(const Aml& container, const Aml& position) {
  return join({{kIndexOp}, container, position, {0x00}});
}
Aml decrement(const Aml& target) { return join({{kDecrementOp}, target}); }
Aml if_(const Aml& condition, List body) {
  return with_length({kIfOp}, join({condition, join(body)}));
}
Aml else_(List body) { return with_length({kElseOp}, join(body)); }
Aml return_(const Aml& value) { return join({{kReturnOp}, value}); }
Aml notify(const Aml& device, const Aml& value) { return join({{kNotifyOp}, device, value}); }
Aml call(std::string_view method, List arguments) { return join({path(method), join(arguments)}); }

Aml create_dword_field(const Aml& buffer, const Aml& byte_index, std::string_view name) {
  return join({{kCreateDWordFieldOp}, buffer, byte_index, path(name)});
}
Aml create_word_field(const Aml& buffer, const Aml& byte_index, std::string_view name) {
  return join({{kCreateWordFieldOp}, buffer, byte_index, path(name)});
}

// The end tag's checksum 0 means "not checked".
Aml resource_template(List descriptors) { return buffer(join({join(descriptors), {0x79, 0x00}})); }

Aml io_ports(u16 base, u8 length) {
  Aml out{0x47, 0x01};
  append_le(out, base);
  append_le(out, base);
  append(out, {0x01, length});
  return out;
}

Aml irq_no_flags(u16 irq_mask) {
  Aml out{0x22};
  append_le(out, irq_mask);
  return out;
}

Aml interrupt(u32 gsi, bool level, bool shared) {
  const u8 flags = static_cast<u8>(0x01 | (level ? 0 : 0x02) | (shared ? 0x08 : 0));
  Aml out{0x89, 0x06, 0x00, flags, 0x01};
  append_le(out, gsi);
  return out;
}

Aml fixed_memory(u32 base, u32 length) {
  Aml out{0x86, 0x09, 0x00, 0x01};
  append_le(out, base);
  append_le(out, length);
  return out;
}

Aml bus_numbers(u16 first, u16 last) { return address_space<u16>(0x88, 2, 0, first, last); }
// Entire range (ISA and non-ISA ports).
Aml io_window(u16 first, u16 last) { return address_space<u16>(0x88, 1, 0x03, first, last); }
Aml memory_window32(u32 first, u32 last, bool cacheable) {
  return address_space<u32>(0x87, 0, cacheable ? 0x03 : 0x01, first, last);
}
Aml memory_window64(u64 first, u64 last, bool cacheable) {
  return address_space<u64>(0x8a, 0, cacheable ? 0x03 : 0x01, first, last);
}

}  // namespace menura::aml
