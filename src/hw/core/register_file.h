// RegisterFile: the registers of a device as a checked table, and their values.
//
// Owner: the device (a member). Threads: under the machine lock. The table says where a register
// lies, its reset value and which bits a guest may write; the file dispatches any access to the
// registers it touches, merges partial writes, resets, and describes itself. Side effects stay with
// the device, in one switch over the ids that changed. Overlapping rows or ids out of order do not
// compile. Example:
//   enum class HpetReg : u8 { Capabilities, Configuration, kCount };
//   constexpr RegisterTable<HpetReg, 2> kRegs{{{
//       {HpetReg::Capabilities, 0x00, 8, "capabilities", 0x8086a201, 0},
//       {HpetReg::Configuration, 0x10, 8, "configuration", 0, 3}}}};
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "base/bits.h"
#include "base/check.h"
#include "memory/mmio.h"
#include "state/visitor.h"

namespace menura {

template <class Id>
struct RegisterRow {
  Id id;
  u32 offset;
  u8 size;  // bytes: 1, 2, 4 or 8
  std::string_view name;
  u64 reset = 0;
  u64 writable = 0;
};

template <class Id, size_t N>
class RegisterTable {
 public:
  consteval explicit RegisterTable(std::array<RegisterRow<Id>, N> rows) : rows_(rows) {
    for (size_t i = 0; i < N; i++) {
      if (static_cast<size_t>(rows[i].id) != i) throw "register ids are not in order";
      if (i > 0 && rows[i].offset < rows[i - 1].offset + rows[i - 1].size)
        throw "registers overlap or are not in order of offset";
      if (rows[i].size < 8 && ((rows[i].reset | rows[i].writable) >> (8 * rows[i].size)) != 0)
        throw "register value wider than the register";
    }
  }
  constexpr const RegisterRow<Id>& operator[](size_t i) const { return rows_[i]; }
  static constexpr size_t size() { return N; }

 private:
  std::array<RegisterRow<Id>, N> rows_;
};

template <class Id, size_t N>
class RegisterFile {
 public:
  explicit constexpr RegisterFile(const RegisterTable<Id, N>& table) : table_(table) { reset(); }

  void reset() {
    for (size_t i = 0; i < N; i++) values_[i] = table_[i].reset;
  }
  u64 get(Id id) const { return values_[index(id)]; }
  void set(Id id, u64 value) { values_[index(id)] = value & low_mask(8u * table_[index(id)].size); }

  // Reads every byte of the access that lies in a register; other bytes read 0. `value_of` gives a
  // register's present value (the device computes those that count or have side effects).
  template <class ValueOf>
  u64 read(Access access, ValueOf value_of) const {
    u64 result = 0;
    for_each_touched(access, [&](size_t i, int shift, u64 mask) {
      const u64 value = value_of(table_[i].id) & mask;
      result |= shift >= 0 ? value << shift : value >> -shift;
    });
    return result;
  }

  // Calls wrote(id, value, mask) for every register touched: value holds the written bits in the
  // register's own position and the old ones elsewhere, mask the bytes written. The device stores
  // with set_writable() (which keeps read-only bits) or acts otherwise.
  template <class Wrote>
  void write(Access access, u64 written, Wrote wrote) {
    for_each_touched(access, [&](size_t i, int shift, u64 mask) {
      const u64 moved = shift >= 0 ? written >> shift : written << -shift;
      wrote(table_[i].id, merge(values_[i], moved, mask), mask);
    });
  }
  // The writable bits of value within mask; returns the bits that changed.
  u64 set_writable(Id id, u64 value, u64 mask = ~u64{0}) {
    u64& now = values_[index(id)];
    const u64 before = now;
    now = merge(now, value, table_[index(id)].writable & mask);
    return before ^ now;
  }

  void describe(StateVisitor& v) {
    for (size_t i = 0; i < N; i++) {
      v.field(table_[i].name, values_[i]);
      // A stream may hold more than the register can.
      if (v.loading()) values_[i] &= low_mask(8u * table_[i].size);
    }
  }
  static std::string_view name_of(const RegisterTable<Id, N>& table, Id id) {
    return table[static_cast<size_t>(id)].name;
  }

 private:
  static constexpr size_t index(Id id) { return static_cast<size_t>(id); }

  // visit(row, shift, mask): the access's bit 0 lies at register bit -shift; mask selects the
  // register's bits inside the access.
  template <class Visit>
  void for_each_touched(Access access, Visit visit) const {
    const i64 begin = static_cast<i64>(access.offset);
    const i64 end = begin + access.size;
    for (size_t i = 0; i < N; i++) {
      const i64 start = table_[i].offset;
      const i64 stop = start + table_[i].size;
      if (stop <= begin || start >= end) continue;
      const i64 from = std::max(begin, start);
      const i64 to = std::min(end, stop);
      const u64 mask = low_mask(static_cast<unsigned>(8 * (to - from)))
                       << static_cast<unsigned>(8 * (from - start));
      visit(i, static_cast<int>(8 * (start - begin)), mask);
    }
  }

  const RegisterTable<Id, N>& table_;
  std::array<u64, N> values_{};
};

}  // namespace menura
