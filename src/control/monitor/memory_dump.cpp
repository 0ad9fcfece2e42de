#include "control/monitor/memory_dump.h"

#include <algorithm>
#include <array>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/text.h"
#include "base/units.h"
#include "control/monitor/expression.h"
#include "jit/front/x86/insn.h"
#include "jit/front/x86/print.h"

namespace menura {

namespace {

constexpr u64 kMaxBytes = 64 * KiB;  // of one dump

struct DumpFormat {
  u64 count = 1;
  char format = 'x';
  unsigned size = 4;
};

Result<DumpFormat> parse_format(std::string_view text) {
  constexpr std::string_view kFormats = "xduoci";
  constexpr std::string_view kSizes = "bhwg";
  DumpFormat f;
  const size_t letters = std::min(text.find_first_not_of("0123456789"), text.size());
  if (letters > 0) f.count = TRY(parse_u64(text.substr(0, letters)));
  for (const char letter : text.substr(letters)) {
    if (kFormats.find(letter) != std::string_view::npos)
      f.format = letter;
    else if (const size_t size = kSizes.find(letter); size != std::string_view::npos)
      f.size = 1u << size;
    else
      return fail(Errc::InvalidArgument,
                  "Format '/{}' is not a count, one of x d u o c i, and one of b h w g", text);
  }
  if (f.format == 'c' && text.find_first_of(kSizes) == std::string_view::npos) f.size = 1;
  const u64 bytes_each = f.format == 'i' ? jit::x86::kMaxLength : f.size;
  if (f.count == 0 || f.count > kMaxBytes / bytes_each)
    return fail(Errc::OutOfRange, "A dump has 1 to {} elements of this size, not {}",
                kMaxBytes / bytes_each, f.count);
  return f;
}

// "/8xb" at the front, which is taken off.
Result<DumpFormat> take_format(HmpWords& words) {
  if (words.empty() || !words[0].starts_with('/')) return DumpFormat{};
  const std::string_view text = words[0].substr(1);
  words = words.subspan(1);
  return parse_format(text);
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

Result<std::string> dump_instructions(const GuestMemory& memory, const x86::State& state,
                                      u64 address, u64 count) {
  const jit::x86::Mode mode = state.code64()            ? jit::x86::Mode::Bits64
                              : state.seg[x86::Cs].db() ? jit::x86::Mode::Bits32
                                                        : jit::x86::Mode::Bits16;
  const jit::x86::Decoder decoder{mode, jit::x86::FeatureSet::all()};
  std::string text;
  for (u64 i = 0; i < count; i++) {
    std::array<u8, jit::x86::kMaxLength> bytes{};
    size_t have = 0;
    // The last instruction of a mapping ends with it.
    while (have < bytes.size() &&
           memory.read(address + have, writable_bytes_of(bytes).subspan(have, 1)))
      have++;
    if (have == 0) TRY(memory.read(address, writable_bytes_of(bytes).first(1)));
    const jit::x86::Insn insn = decoder.decode(std::span(bytes).first(have));
    const size_t length = insn.status == jit::x86::Status::Ok ? insn.length : 1;
    std::string hex;
    for (size_t b = 0; b < length; b++) hex += format("{:02x} ", bytes[b]);
    text += format("0x{:016x}:  {:<30} {}\n", address, hex, jit::x86::print(insn, address));
    address += length;
  }
  return text;
}

}  // namespace

Result<std::string> dump_memory(HmpContext& context, AddressKind kind, HmpWords words) {
  const DumpFormat f = TRY(take_format(words));
  if (words.empty()) return fail(Errc::InvalidArgument, "An address is missing");
  const x86::State state = TRY(context.registers());
  const GuestMemory memory(context.target.machine.memory(),
                           kind == AddressKind::Linear ? &state : nullptr);
  u64 address = TRY(evaluate(state, join(words, " ")));
  if (f.format == 'i') return dump_instructions(memory, state, address, f.count);
  constexpr unsigned kLine = 16;  // bytes
  std::string text;
  for (u64 i = 0; i < f.count; i++, address += f.size) {
    if (i % (kLine / f.size) == 0) text += format("{}{:016x}:", i ? "\n" : "", address);
    std::array<std::byte, 8> bytes{};
    TRY(memory.read(address, Bytes(bytes).first(f.size)));
    text += " " + print_element(load_le<u64>(ConstBytes(bytes)), f);
  }
  return text + "\n";
}

Result<std::string> print_value_of(HmpContext& context, HmpWords words) {
  DumpFormat f = TRY(take_format(words));
  if (words.empty()) return fail(Errc::InvalidArgument, "An expression is missing");
  if (f.format == 'i') return fail(Errc::InvalidArgument, "A value is no instruction: use x /i");
  const u64 value = TRY(evaluate(TRY(context.registers()), join(words, " ")));
  if (f.format == 'x') return format("{:#x}\n", value);
  f.size = 8;
  return print_element(value, f) + "\n";
}

// Page tables (SDM vol. 3 §4): 10-bit levels of 4-byte entries without PAE, else 9-bit levels.

namespace {

struct Levels {
  unsigned count;       // of tables on the way
  unsigned index_bits;  // of a level
  unsigned entry_size;
};

constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kLarge = 0x80, kNoExecute = u64{1} << 63;
constexpr u64 kAddressMask = 0x000f'ffff'ffff'f000;

Levels levels_of(const x86::State& s) {
  if (s.long_mode_active()) return {s.cr4 & x86::kCr4La57 ? 5u : 4u, 9, 8};
  if (s.cr4 & x86::kCr4Pae) return {3, 9, 8};
  return {2, 10, 4};
}

class TableWalk {
 public:
  TableWalk(const GuestMemory& memory, const x86::State& state,
            const std::function<bool(const Mapping&)>& take)
      : memory_(memory),
        levels_(levels_of(state)),
        long_mode_(state.long_mode_active()),
        take_(take) {}

  // False: enough.
  bool table(u64 physical, unsigned level, const Mapping& so_far) {
    const unsigned shift = 12 + levels_.index_bits * (level - 1);
    const bool four_pdptes = !long_mode_ && levels_.count == 3 && level == 3;
    const unsigned entries = four_pdptes ? 4 : 1u << levels_.index_bits;
    for (unsigned i = 0; i < entries; i++) {
      const u64 entry = memory_.load_entry(physical + i * levels_.entry_size, levels_.entry_size) &
                        (levels_.entry_size == 4 ? 0xffff'ffff : ~u64{0});
      if (!(entry & kPresent) || entry == ~u64{0}) continue;
      Mapping m = so_far;
      m.linear |= u64{i} << shift;
      m.entry = entry;
      if (!four_pdptes) {
        m.writable &= (entry & kWritable) != 0;
        m.user &= (entry & kUser) != 0;
      }
      if (levels_.entry_size == 8) m.executable &= !(entry & kNoExecute);
      if (level > 1 && !((entry & kLarge) && level <= 3 && !four_pdptes)) {
        if (!table(entry & kAddressMask, level - 1, m)) return false;
        continue;
      }
      m.size = u64{1} << shift;
      m.physical = entry & kAddressMask & ~(m.size - 1);
      if (!take_(m)) return false;
    }
    return true;
  }

  unsigned top() const { return levels_.count; }

 private:
  const GuestMemory& memory_;
  const Levels levels_;
  const bool long_mode_;
  const std::function<bool(const Mapping&)>& take_;
};

constexpr size_t kMaxLines = 4096;  // of an answer

std::string rights(const Mapping& m) {
  return format("{}r{}{}", m.user ? 'u' : '-', m.writable ? 'w' : '-', m.executable ? 'x' : '-');
}

}  // namespace

void walk_all(const GuestMemory& memory, const x86::State& state,
              const std::function<bool(const Mapping&)>& take) {
  const std::function<bool(const Mapping&)> canonical = [&](const Mapping& found) {
    Mapping m = found;
    if (state.long_mode_active())
      m.linear = static_cast<u64>(sign_extend(m.linear, state.cr4 & x86::kCr4La57 ? 57 : 48));
    return take(m);
  };
  TableWalk walk(memory, state, canonical);
  walk.table(state.cr3 & (state.cr4 & x86::kCr4Pae && !state.long_mode_active() ? 0xffff'ffe0
                                                                                : kAddressMask),
             walk.top(), {.user = true, .writable = true});
}

Result<std::string> print_mappings(HmpContext& context) {
  const x86::State state = TRY(context.registers());
  if (!(state.cr0 & x86::kCr0Pg)) return std::string("PG disabled\n");
  // The flags of an entry: NX G S(ize) D A C(D) (W)T U W.
  constexpr std::pair<u64, char> kFlags[] = {{kNoExecute, 'X'}, {0x100, 'G'}, {kLarge, 'P'},
                                             {0x40, 'D'},       {0x20, 'A'},  {0x10, 'C'},
                                             {0x08, 'T'},       {kUser, 'U'}, {kWritable, 'W'}};
  std::string text;
  size_t lines = 0;
  walk_all(GuestMemory(context.target.machine.memory(), &state), state, [&](const Mapping& m) {
    std::string flags;
    for (const auto& [bit, letter] : kFlags) flags += m.entry & bit ? letter : '-';
    text += format("{:016x}: {:016x} {}\n", m.linear, m.physical, flags);
    return ++lines < kMaxLines;
  });
  if (lines == kMaxLines) text += format("(the first {} mappings)\n", kMaxLines);
  return text;
}

Result<std::string> print_mapped_ranges(HmpContext& context) {
  const x86::State state = TRY(context.registers());
  if (!(state.cr0 & x86::kCr0Pg)) return std::string("PG disabled\n");
  std::string text;
  size_t lines = 0;
  Mapping range;
  const auto print = [&] {
    if (range.size > 0)
      text += format("{:016x}-{:016x} {:016x} {}\n", range.linear, range.linear + range.size,
                     range.size, rights(range));
    lines++;
  };
  walk_all(GuestMemory(context.target.machine.memory(), &state), state, [&](const Mapping& m) {
    if (range.size > 0 && range.linear + range.size == m.linear && rights(range) == rights(m)) {
      range.size += m.size;
    } else {
      print();
      range = m;
    }
    return lines < kMaxLines;
  });
  print();
  return text;
}

}  // namespace menura
