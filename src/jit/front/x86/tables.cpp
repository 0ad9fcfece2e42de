#include "jit/front/x86/tables.h"

#include <iterator>

#include "jit/front/x86/rows.h"

namespace menura::jit::x86 {

using namespace rows;

// Row 0 is "no such instruction".
constexpr Row kRows[] = {
    {M::Count, 0, {}},
// clang-format off
#include "jit/front/x86/rows_integer.def"
#include "jit/front/x86/rows_system.def"
#include "jit/front/x86/rows_x87.def"
#include "jit/front/x86/rows_sse.def"
#include "jit/front/x86/rows_avx.def"
    // clang-format on
};

namespace {

constexpr unsigned kRowCount = std::size(kRows);
constexpr unsigned kSlotCount = kMaps * 256;

constexpr Field kFields[] = {kPrefixField, kRegField, kModField,  kRmField,
                             kWField,      kLField,   kModeField, kBField};
constexpr unsigned kFieldCount = std::size(kFields);
constexpr u16 Shape::*kStrides[kFieldCount] = {&Shape::prefix, &Shape::reg, &Shape::mod,
                                               &Shape::rm,     &Shape::w,   &Shape::l,
                                               &Shape::mode,   &Shape::b};

constexpr bool restricts(const Row& row, Field field) {
  return (row.encoding & field.all()) != field.all();
}

constexpr bool has(const Row& row, Place place) {
  for (const Op& op : row.operands)
    if (op.place == place) return true;
  return false;
}

constexpr bool has_modrm(const Row& row) {
  return has(row, Place::Reg) || has(row, Place::Rm) || has(row, Place::Vsib) ||
         restricts(row, kRegField) || restricts(row, kModField) || restricts(row, kRmField);
}

consteval void check(const Row& row) {
  for (Field field : kFields)
    if ((row.encoding & field.all()) == 0) throw "a row's constraints exclude each other";
  bool ended = false;
  unsigned rm_operands = 0;
  for (const Op& op : row.operands) {
    if (op.place == Place::None)
      ended = true;
    else if (ended)
      throw "a row has a gap in its operands";
    if (op.place == Place::Rm || op.place == Place::Vsib || op.place == Place::Moffs) ++rm_operands;
    bool memory_only =
        (op.place == Place::Rm && op.cls == RegClass::None) || op.place == Place::Vsib;
    if (memory_only && (row.encoding & kModField.all() & ~Mem) != 0)
      throw "a memory operand without & Mem";
    if (op.place == Place::Vvvv && !row.is_vex()) throw "a legacy row uses vvvv";
    if (op.place == Place::Is4 && !row.is_vex()) throw "a legacy row uses is4";
  }
  if (rm_operands > 1) throw "a row has two ModRM.rm operands";
  if (!row.is_vex() && restricts(row, kLField)) throw "a legacy row selects on VEX.L";
  bool modified_rm = row.operands[0].place == Place::Rm && (row.access & 3) == 3;
  if ((row.attributes & kLock) != 0 && !modified_rm)
    throw "LOCK on a row that does not modify ModRM.rm";
  if ((row.attributes & kPrefixFallback) != 0 && row.feature == Feature::Base)
    throw "fallback without a feature";
}

consteval Tail tail(const Row& row) {
  Tail found = Tail::None;
  for (const Op& op : row.operands) {
    Tail here = Tail::None;
    switch (op.place) {
      case Place::Imm:
      case Place::ImmSigned:
      case Place::Rel:
        here = op.mem_size == Size::B   ? Tail::One
               : op.mem_size == Size::W ? Tail::Two
               : op.mem_size == Size::Z ? Tail::Zero2or4
                                        : Tail::Full2to8;
        break;
      case Place::Is4: here = Tail::One; break;
      case Place::Far: here = Tail::FarPointer; break;
      case Place::Moffs: here = Tail::Moffs; break;
      case Place::Imm2: here = found == Tail::One ? Tail::OneAndOne : Tail::Three; break;
      default: continue;
    }
    if (found != Tail::None && op.place != Place::Imm2) throw "a row has two first immediates";
    found = here;
  }
  return found;
}

constexpr bool uses_vectors(const Row& row) {
  for (const Op& op : row.operands)
    if (op.cls == RegClass::Vector) return true;
  return false;
}

consteval Form form(const Row& row) {
  Form form;
  form.needed = FeatureSet{}.with(row.feature);
  if (row.is_vex() && uses_vectors(row)) form.needed = form.needed.with(Feature::Avx);
  form.attributes = row.attributes;
  form.mnemonic = row.mnemonic;
  form.tail = tail(row);
  form.immediate_signed = has(row, Place::ImmSigned) || has(row, Place::Rel);
  for (const Op& op : row.operands)
    if (op.cls == RegClass::Control || op.cls == RegClass::Debug) form.ignores_mod = true;
  for (const Op& op : row.operands)
    if (op.cls == RegClass::Control) form.control_register = true;
  form.vvvv_unused = row.is_vex() && !has(row, Place::Vvvv);
  form.vsib = has(row, Place::Vsib);
  return form;
}

constexpr unsigned slot_of(const Row& row, unsigned low) {
  return static_cast<unsigned>(row.map()) * 256 + row.opcode() + low;
}
constexpr unsigned slots_of(const Row& row) { return (row.encoding & kPlusR) != 0 ? 8 : 1; }

// Expands rows into slots, shapes, leaves and forms.
class Expansion {
 public:
  consteval Expansion() {
    unsigned first[kSlotCount + 1] = {};
    for (unsigned i = 1; i < kRowCount; ++i)
      for (unsigned low = 0; low < slots_of(kRows[i]); ++low) ++first[slot_of(kRows[i], low) + 1];
    for (unsigned i = 0; i < kSlotCount; ++i) first[i + 1] += first[i];
    u16 members[kRowCount * 2] = {};
    unsigned next[kSlotCount] = {};
    for (unsigned i = 1; i < kRowCount; ++i)
      for (unsigned low = 0; low < slots_of(kRows[i]); ++low) {
        unsigned slot = slot_of(kRows[i], low);
        members[first[slot] + next[slot]++] = static_cast<u16>(i);
      }
    for (unsigned slot = 0; slot < kSlotCount; ++slot)
      if (first[slot] != first[slot + 1])
        expand(tables_.slots[slot / 256][slot % 256], members + first[slot],
               members + first[slot + 1]);
    describe();
    tables_.row_count = kRowCount;
  }
  constexpr Tables tables() const { return tables_; }

 private:
  consteval void expand(Slot& slot, const u16* begin, const u16* end) {
    Shape shape;
    unsigned size = 1;
    for (unsigned f = 0; f < kFieldCount; ++f) {
      bool selects = false;
      for (const u16* row = begin; row != end; ++row) selects |= restricts(kRows[*row], kFields[f]);
      if (!selects) continue;
      shape.*kStrides[f] = static_cast<u16>(size);
      size *= kFields[f].values;
    }
    slot.base = static_cast<u16>(leaf_count_);
    slot.shape = intern(shape);
    slot.modrm = has_modrm(kRows[*begin]);
    leaf_count_ += size;
    for (const u16* row = begin; row != end; ++row) {
      if (has_modrm(kRows[*row]) != slot.modrm)
        throw "rows of one opcode disagree whether a ModRM byte follows";
      claim(*row, shape, 0, slot.base);
    }
  }

  consteval u8 intern(const Shape& shape) {
    for (unsigned i = 0; i < shape_count_; ++i)
      if (tables_.shapes[i] == shape) return static_cast<u8>(i);
    tables_.shapes[shape_count_] = shape;
    return static_cast<u8>(shape_count_++);
  }

  consteval void claim(u16 row, const Shape& shape, unsigned field, unsigned leaf) {
    while (field < kFieldCount && shape.*kStrides[field] == 0) ++field;
    if (field == kFieldCount) {
      if (tables_.leaves[leaf] != 0) throw "two rows claim one encoding";
      tables_.leaves[leaf] = row;
      return;
    }
    for (unsigned value = 0; value < kFields[field].values; ++value)
      if ((kRows[row].encoding >> (kFields[field].shift + value) & 1) != 0)
        claim(row, shape, field + 1, leaf + value * shape.*kStrides[field]);
  }

  consteval void describe() {
    bool named[static_cast<unsigned>(M::Count)] = {};
    for (unsigned i = 1; i < kRowCount; ++i) {
      check(kRows[i]);
      tables_.forms[i] = form(kRows[i]);
      named[static_cast<unsigned>(kRows[i].mnemonic)] = true;
    }
    for (bool used : named)
      if (!used) throw "a mnemonic has no row";
  }

  Tables tables_;
  unsigned shape_count_ = 1;
  unsigned leaf_count_ = 1;  // leaf 0 is the empty slot's
};

}  // namespace

constexpr Tables kTables = Expansion().tables();

}  // namespace menura::jit::x86
