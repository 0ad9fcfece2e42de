// Values: which accesses of a block are to addresses a known distance apart, so that one check may
// serve several of them.
//
// Owner: jit/back/x64 (private to it). Threads: a value. Design: docs/decisions/004-jit-host-code.md.
// Example: `Values v; ... v.pass(block, op); if (v.same(known, v.place(op.address))) ...`
#pragma once

#include <array>

#include "jit/ir/block.h"

namespace menura::x64 {

class Values {
 public:
  // An address: registers as they are now, and a distance from there.
  struct Place {
    u8 base, index, scale, segment;
    u32 base_value, index_value, epoch;
    i64 at;
  };
  // Whether the address is one that is followed: 64-bit, unlimited.
  static bool follows(const ir::Op& check);
  Place place(const ir::Address& address) const;
  static bool same(const Place& a, const Place& b) {
    return a.base == b.base && a.index == b.index && a.scale == b.scale && a.segment == b.segment &&
           a.base_value == b.base_value && a.index_value == b.index_value && a.epoch == b.epoch;
  }
  // Whether an operation lets the engine, or another translation context, in between.
  static bool forgets(ir::Opcode code);
  // Behind an operation.
  void pass(const ir::Block& block, const ir::Op& op);

 private:
  void written(unsigned reg) {
    value_[reg]++;
    moved_[reg] = 0;
  }

  std::array<u32, 16> value_{};  // counts a register's unrelated values
  std::array<i64, 16> moved_{};  // how far it went from the last of them
  u32 epoch_ = 0;                // counts what may change everything
};

}  // namespace menura::x64
