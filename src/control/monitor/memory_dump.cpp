#include "control/monitor/memory_dump.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/text.h"
#include "base/units.h"
#include "cpu/x86/paging.h"

namespace menura {

namespace {

constexpr u64 kMaxBytes = 64 * KiB;  // of one dump

struct DumpFormat {
  u64 count = 1;
  char format = 'x';
  unsigned size = 4;
};

Result<DumpFormat> parse_format(std::string_view text) {
  constexpr std::string_view kFormats = "xduoc";
  constexpr std::string_view kSizes = "bhwg";
  DumpFormat f;
  const size_t letters = std::min(text.find_first_not_of("0123456789"), text.size());
  if (letters > 0) f.count = TRY(parse_u64(text.substr(0, letters)));
  for (const char letter : text.substr(letters)) {
    if (kFormats.find(letter) != std::string_view::npos)
      f.format = letter;
    else if (const size_t size = kSizes.find(letter); size != std::string_view::npos)
      f.size = 1u << size;
    else if (letter == 'i')
      return fail(Errc::Unsupported, "Format 'i' (instructions) is not there yet");
    else
      return fail(Errc::InvalidArgument,
                  "Format '/{}' is not a count, one of x d u o c, and one of b h w g", text);
  }
  if (f.format == 'c' && text.find_first_of(kSizes) == std::string_view::npos) f.size = 1;
  if (f.count == 0 || f.count > kMaxBytes / f.size)
    return fail(Errc::OutOfRange, "A dump has 1 to {} elements of this size, not {}",
                kMaxBytes / f.size, f.count);
  return f;
}

std::string print_element(u64 value, const DumpFormat& f) {
  const unsigned digits = 2 * f.size;
  switch (f.format) {
    case 'd': return format("{}", sign_extend(value, 8 * f.size));
    case 'u': return format("{}", value);
    case 'o': return format("{:#o}", value);
    case 'c':
      return value >= ' ' && value < 127 ? format("'{}'", static_cast<char>(value))
                                         : format("'\\x{:02x}'", value & 0xff);
    default: return format("0x{:0{}x}", value, digits);
  }
}

// The page tables, for the walker; they are only read.
class TablesInRam final : public x86::PhysicalBus {
 public:
  explicit TablesInRam(const AddressSpace& memory) : memory_(memory) {}
  u64 load_physical(GuestAddr addr, unsigned size) override {
    std::array<std::byte, 8> bytes{};
    if (memory_.dma_read(addr, Bytes(bytes).first(size)) != AccessStatus::Ok) return ~u64{0};
    return load_le<u64>(ConstBytes(bytes), 0);
  }
  void store_physical(GuestAddr, unsigned, u64) override {}
  bool compare_exchange_physical(GuestAddr, unsigned, u64, u64) override { return true; }

 private:
  const AddressSpace& memory_;
};

struct Source {
  const AddressSpace& memory;
  AddressKind kind;
  x86::State state;
};

Result<u8> read_byte(const Source& source, u64 address) {
  u64 physical = address;
  if (source.kind == AddressKind::Linear) {
    TablesInRam tables(source.memory);
    const auto translation =
        x86::walk(source.state, tables, address, {.implicit = true, .set_bits = false});
    if (!translation)
      return fail(Errc::NotFound, "Cannot access memory at {:#x}: not mapped", address);
    physical = translation->physical;
  }
  std::byte byte{};
  if (source.memory.dma_read(GuestAddr{physical}, Bytes(&byte, 1)) != AccessStatus::Ok)
    return fail(Errc::NotFound, "Cannot access memory at {:#x}: no RAM or ROM", address);
  return static_cast<u8>(byte);
}

Result<u64> term(const x86::State& s, std::string_view text) {
  if (text.empty()) return fail(Errc::InvalidArgument, "An address is missing");
  if (text[0] != '$') return parse_u64(text);
  constexpr std::string_view kGprs[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
  constexpr std::string_view kSegments[] = {"es", "cs", "ss", "ds", "fs", "gs"};
  const std::string_view name = text.substr(1);
  if (name == "rip" || name == "eip" || name == "pc")
    return s.code64() ? s.rip : s.seg[x86::Cs].base + s.rip;
  if (name == "cr3") return s.cr3;
  for (size_t i = 0; i < x86::kSegCount; i++)
    if (name == format("{}_base", kSegments[i])) return s.seg[i].base;
  for (size_t i = 0; i < x86::kGprCount; i++) {
    const std::string tail = i < 8 ? std::string(kGprs[i]) : format("{}", i);
    if (name == "r" + tail) return s.gpr[i];
    if (i < 8 && name == "e" + tail) return s.gpr[i] & 0xffff'ffff;
  }
  return fail(Errc::NotFound, "There is no register '{}'", text);
}

}  // namespace

Result<u64> parse_address(const x86::State& state, std::string_view text) {
  u64 sum = 0;
  char sign = '+';
  while (true) {
    const size_t end = std::min(text.find_first_of("+-"), text.size());
    const u64 value = TRY(term(state, trim(text.substr(0, end))), "Address");
    sum = sign == '+' ? sum + value : sum - value;
    if (end == text.size()) return sum;
    sign = text[end];
    text.remove_prefix(end + 1);
  }
}

Result<std::string> dump_memory(HmpContext& context, AddressKind kind, HmpWords words) {
  DumpFormat f;
  if (!words.empty() && words[0].starts_with('/')) {
    f = TRY(parse_format(words[0].substr(1)));
    words = words.subspan(1);
  }
  if (words.empty()) return fail(Errc::InvalidArgument, "An address is missing");
  const Source source{context.target.machine.memory(), kind, context.registers()};
  u64 address = TRY(parse_address(source.state, join(words, "")));
  constexpr unsigned kLine = 16;  // bytes
  std::string text;
  for (u64 i = 0; i < f.count; i++, address += f.size) {
    if (i % (kLine / f.size) == 0) text += format("{}{:016x}:", i ? "\n" : "", address);
    u64 value = 0;
    for (unsigned byte = 0; byte < f.size; byte++)
      value |= u64{TRY(read_byte(source, address + byte))} << 8 * byte;
    text += " " + print_element(value, f);
  }
  return text + "\n";
}

}  // namespace menura
