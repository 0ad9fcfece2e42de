// The decoder's dense tables, expanded from the rows at compile time. Private to the room.
//
// Owner: jit/front/x86. Threads: constants.
// An opcode of a map is a Slot. Its rows may differ by prefix, ModRM fields, W, L, mode or REX.B; the Shape says which
// of these count and with what stride, so that one multiply-add chain finds the leaf. Example:
//   const Slot& slot = kTables.slots[0][0x01];
//   u16 row = kTables.leaves[slot.base];   // shape 0: nothing to select
#pragma once

#include "jit/front/x86/row.h"

namespace menura::jit::x86 {

inline constexpr unsigned kMaps = static_cast<unsigned>(Map::Count);

struct Slot {
  u16 base = 0;
  u8 shape = 0;
  bool modrm = false;
};

struct Shape {
  u16 prefix = 0, reg = 0, mod = 0, rm = 0, w = 0, l = 0, mode = 0, b = 0;
  constexpr bool operator==(const Shape&) const = default;
};

// What follows the opcode, in bytes.
enum class Tail : u8 { None, One, Two, OneAndOne, Three, Zero2or4, Full2to8, FarPointer, Moffs };

// What the decoder needs of a row, packed.
struct Form {
  FeatureSet needed;
  u32 attributes = 0;
  Mnemonic mnemonic = {};
  Tail tail = Tail::None;
  bool immediate_signed : 1 = false;
  bool ignores_mod : 1 = false;  // MOV to and from control and debug registers
  bool vvvv_unused : 1 = false;  // VEX row without a vvvv operand: vvvv must be 1111
  bool vsib : 1 = false;
  bool control_register : 1 = false;
};

// Capacities are checked: the expansion fails to compile when one is too small.
struct Tables {
  Slot slots[kMaps][256];
  Shape shapes[64];
  u16 leaves[12288] = {};
  Form forms[1600];
  unsigned row_count = 0;
};

extern const Tables kTables;
extern const Row kRows[];

}  // namespace menura::jit::x86
