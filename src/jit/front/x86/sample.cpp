#include "jit/front/x86/sample.h"

#include "jit/front/x86/rows.h"
#include "jit/front/x86/tables.h"

namespace menura::jit::x86 {
namespace {

using namespace rows;

// splitmix64
u64 next(u64& state) {
  state += 0x9E3779B97F4A7C15;
  u64 x = state;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

class Writer {
 public:
  Writer(const Row& row, Mode mode, u64& random) : row_(row), mode_(mode), random_(random) {}

  // Fills 32 bytes; the decoder finds out how many of them are the instruction.
  std::array<u8, 32> write() {
    if (row_.is_vex()) {
      address_prefixes();
      vex();
    } else {
      legacy_prefixes();
      escape();
    }
    bool plus_r = (row_.encoding & kPlusR) != 0;
    put(static_cast<u8>(row_.opcode() | (plus_r ? pick(kRmField) : 0)));
    modrm();
    while (size_ < bytes_.size()) put(static_cast<u8>(next(random_)));
    return bytes_;
  }

 private:
  bool is64() const { return mode_ == Mode::Bits64; }
  bool chance(unsigned one_in) { return next(random_) % one_in == 0; }
  void put(u8 byte) { bytes_[size_++] = byte; }

  // One of the values the row admits in a field.
  unsigned pick(Field field) {
    for (;;) {
      unsigned value = static_cast<unsigned>(next(random_) % field.values);
      if ((row_.encoding >> (field.shift + value) & 1) != 0) return value;
    }
  }

  void address_prefixes() {
    constexpr u8 kSegments[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
    if (chance(8)) put(0x67);
    if (chance(8)) put(kSegments[next(random_) % std::size(kSegments)]);
  }

  void legacy_prefixes() {
    constexpr u8 kPrefixes[] = {0, 0x66, 0xF3, 0xF2};
    address_prefixes();
    if ((row_.attributes & kLock) != 0 && chance(4)) put(0xF0);
    if (u8 prefix = kPrefixes[pick(kPrefixField)]; prefix != 0) put(prefix);
    u8 rex = static_cast<u8>(pick(kWField) << 3 | pick(kBField));
    if (!is64()) return;
    rex |= static_cast<u8>(next(random_) & 6);
    if (rex != 0 || chance(4)) put(0x40 | rex);
  }

  void escape() {
    if (row_.map() == Map::One) return;
    put(0x0F);
    if (row_.map() == Map::Three38) put(0x38);
    if (row_.map() == Map::Three3A) put(0x3A);
  }

  void vex() {
    bool vvvv = false;
    for (const Op& op : row_.operands) vvvv |= op.place == Place::Vvvv;
    u8 number =
        static_cast<u8>(static_cast<unsigned>(row_.map()) - static_cast<unsigned>(Map::Vex1) + 1);
    u8 inverted_rxb = is64() ? static_cast<u8>(next(random_) & 0xE0) : 0xE0;
    u8 last = static_cast<u8>(vvvv ? next(random_) & 0x78 : 0x78);
    put(0xC4);
    put(inverted_rxb | number);
    put(static_cast<u8>(pick(kWField) << 7 | last | pick(kLField) << 2 | pick(kPrefixField)));
  }

  void modrm() {
    const Slot& slot = kTables.slots[static_cast<unsigned>(row_.map())][row_.opcode()];
    if (!slot.modrm) return;
    bool vsib = false;
    for (const Op& op : row_.operands) vsib |= op.place == Place::Vsib;
    unsigned mod = pick(kModField) == 1 ? 3 : static_cast<unsigned>(next(random_) % 3);
    put(static_cast<u8>(mod << 6 | pick(kRegField) << 3 | (vsib ? 4 : pick(kRmField))));
  }

  // Configuration
  const Row& row_;
  Mode mode_;
  u64& random_;
  // State
  std::array<u8, 32> bytes_ = {};
  unsigned size_ = 0;
};

}  // namespace

unsigned row_count() { return kTables.row_count; }
const Row& row_at(unsigned row) { return kRows[row]; }

Sample sample(unsigned row, Mode mode, u64& random) {
  std::array<u8, 32> bytes = Writer(kRows[row], mode, random).write();
  Insn insn = Decoder{mode, FeatureSet::all()}.decode(bytes);
  Sample result;
  if (insn.status != Status::Ok || insn.row != row) return result;
  result.length = insn.length;
  for (unsigned i = 0; i < insn.length; ++i) result.bytes[i] = bytes[i];
  return result;
}

}  // namespace menura::jit::x86
