// Re-emission of guest instructions: host registers for guest registers, P for the memory operand.
#include <bit>

#include "base/check.h"
#include "jit/back/x64/assembler.h"

namespace menura::x64 {

namespace {

using ir::Operand;
constexpr unsigned kT0 = 10, kT1 = 11;

// Where a template's operands are while it runs.
class Placement {
 public:
  Placement(Assembler& a, const ir::Native& n, const Assembler::Pointer& pointer)
      : a_(a), n_(n), pointer_(pointer) {
    no_rex_ = n.reg.high || n.rm.high;
    const bool memory = n.rm.kind == Operand::Memory;
    if (!no_rex_) free_ = memory ? 0 : 1u << kT0 | 1u << kT1;
    if (memory) place_memory();
    reg = place(n.reg);
    rm = memory ? memory_base_ : place(n.rm);
    vvvv = place(n.vvvv);
  }

  // Behind the instruction: results to their homes, borrowed registers back.
  void finish() {
    for (unsigned i = 0; i < moved_count_; ++i) {
      const Moved& m = moved_[i];
      if (!m.written) continue;
      if (is_pinned(m.guest))
        a_.mov(a_.host(m.guest), Xbyak::Reg64(static_cast<int>(m.host)));
      else
        a_.mov(a_.home(m.guest), Xbyak::Reg64(static_cast<int>(m.host)));
    }
    for (unsigned r = 0; r < 16; ++r)
      if (borrowed & 1u << r) a_.mov(a_.host(r), a_.home(r));
  }

  // Encoded numbers.
  unsigned reg = 0, rm = 0, vvvv = 0;
  bool indexed = false;  // memory is [t0 + t1], else [rm + disp]
  i32 disp = 0;
  u16 borrowed = 0;
  bool no_rex() const { return no_rex_; }

 private:
  struct Moved {
    unsigned guest, host;
    bool written;
  };

  bool needs_move(const Operand& o) const {
    return o.kind == Operand::General &&
           (!is_pinned(o.number) || (no_rex_ && host_of(o.number) >= 8));
  }

  void place_memory() {
    using Pointer = Assembler::Pointer;
    if (no_rex_) {
      memory_base_ = borrow();
      a_.lea(Xbyak::Reg64(static_cast<int>(memory_base_)), a_.ptr[a_.at(pointer_)]);
    } else if (pointer_.kind != Pointer::Sum) {
      const bool first = pointer_.kind == Pointer::InT0;
      memory_base_ = first ? kT0 : kT1;
      free_ = 1u << (first ? kT1 : kT0);
      disp = pointer_.disp;
    } else if (needs_move(n_.reg) || needs_move(n_.vvvv)) {
      a_.lea(a_.t0, a_.ptr[a_.t0 + a_.t1]);
      memory_base_ = kT0;
      free_ = 1u << kT1;
    } else {
      indexed = true;
      memory_base_ = kT0;
    }
  }

  unsigned place(const Operand& o) {
    if (o.kind != Operand::General) return o.number;
    if (!needs_move(o)) return o.high ? o.number + 4u : host_of(o.number);
    for (unsigned i = 0; i < moved_count_; ++i) {
      if (moved_[i].guest != o.number) continue;
      moved_[i].written |= o.written;
      return moved_[i].host;
    }
    const unsigned host = take();
    // A narrow write keeps the rest.
    const Xbyak::Reg64 to(static_cast<int>(host));
    if (is_pinned(o.number))
      a_.mov(to, a_.host(o.number));
    else if (!overwritten(o))
      a_.mov(to, a_.home(o.number));
    moved_[moved_count_++] = {o.number, host, o.written};
    return host;
  }

  // Whether the instruction replaces all of the register without a look at it: the usual ones.
  bool overwritten(const Operand& o) const {
    if (!o.written || o.read || o.bytes < 4) return false;
    const auto same = [&](const Operand& other) {
      return &other != &o && other.kind == Operand::General && other.number == o.number;
    };
    if (same(n_.reg) || same(n_.rm) || same(n_.vvvv)) return false;
    const u8 code = n_.opcode;
    if (n_.map == ir::Native::Two) return (code & 0xf6) == 0xb6;  // MOVZX, MOVSX
    const bool moves = code == 0x89 || code == 0x8b || code == 0x63 || code == 0xc7;
    return n_.map == ir::Native::One && (moves || (code & 0xf8) == 0xb8);
  }

  unsigned take() {
    if (!free_) return borrow();
    const unsigned r = static_cast<unsigned>(std::countr_zero(free_));
    free_ &= free_ - 1;
    return r;
  }

  // A pinned register that the instruction does not touch; its value waits in its home.
  unsigned borrow() {
    constexpr u8 kOrder[] = {7, 6, 3, 2, 1, 0, 5};
    for (unsigned r : kOrder) {
      if ((n_.general_used | borrowed) & 1u << r) continue;
      borrowed |= static_cast<u16>(1u << r);
      a_.mov(a_.home(r), a_.host(r));
      return r;
    }
    unreachable("an instruction that uses every register");
  }

  Assembler& a_;
  const ir::Native& n_;
  const Assembler::Pointer& pointer_;
  bool no_rex_ = false;
  unsigned free_ = 0;  // scratch registers, a bit each
  unsigned memory_base_ = 0;
  Moved moved_[3];
  unsigned moved_count_ = 0;
};

class Encoding {
 public:
  Encoding(Assembler& a, const ir::Native& n, const Placement& p) : a_(a), n_(n), p_(p) {}

  void emit() {
    if (n_.map >= ir::Native::Vex1)
      vex();
    else
      legacy();
    a_.db(static_cast<int>(n_.plus_reg ? (n_.opcode & 0xf8u) | (p_.rm & 7) : n_.opcode));
    if (n_.modrm) modrm();
    for (unsigned i = 0; i < n_.imm_size; ++i) a_.db(static_cast<u8>(n_.imm >> (8 * i)));
  }

 private:
  bool memory() const { return n_.rm.kind == Operand::Memory; }
  unsigned r() const { return p_.reg >> 3; }
  unsigned x() const { return memory() && p_.indexed ? kT1 >> 3 : 0; }
  unsigned b() const { return p_.rm >> 3; }

  static bool names_low_byte(const Operand& o, unsigned host) {
    return o.kind == Operand::General && o.bytes == 1 && !o.high && host >= 4;
  }

  void legacy() {
    if (n_.lock) a_.db(0xf0);
    if (n_.operand16) a_.db(0x66);
    if (n_.repeat) a_.db(n_.repeat);
    unsigned rex = (n_.wide ? 8 : 0) | r() << 2 | x() << 1 | b();
    if (rex || names_low_byte(n_.reg, p_.reg) || names_low_byte(n_.rm, p_.rm)) {
      ensure(!p_.no_rex(), "REX with AH, CH, DH or BH");
      a_.db(static_cast<int>(0x40 | rex));
    }
    if (n_.map != ir::Native::One) a_.db(0x0f);
    if (n_.map == ir::Native::Three38) a_.db(0x38);
    if (n_.map == ir::Native::Three3A) a_.db(0x3a);
  }

  void vex() {
    const unsigned map = n_.map - ir::Native::Vex1 + 1;
    const unsigned vvvv = n_.vvvv.kind == Operand::Absent ? 0 : p_.vvvv;
    a_.db(0xc4);
    a_.db(static_cast<int>((r() ^ 1) << 7 | (x() ^ 1) << 6 | (b() ^ 1) << 5 | map));
    a_.db(static_cast<int>((n_.wide ? 0x80u : 0u) | (~vvvv & 15) << 3 | (n_.vex_l ? 4u : 0u) |
                           n_.vex_pp));
  }

  void modrm() {
    const unsigned reg = (p_.reg & 7) << 3;
    if (!memory()) {
      a_.db(static_cast<int>(0xc0 | reg | (p_.rm & 7)));
    } else if (p_.indexed) {
      a_.db(static_cast<int>(0x04 | reg));
      a_.db((kT1 & 7) << 3 | (kT0 & 7));
    } else {
      const bool none = p_.disp == 0 && (p_.rm & 7) != 5;  // rbp has no form without displacement
      const bool byte = p_.disp == static_cast<i8>(p_.disp);
      a_.db(static_cast<int>((none ? 0 : byte ? 0x40 : 0x80) | reg | (p_.rm & 7)));
      if (!none && byte) a_.db(static_cast<u8>(p_.disp));
      if (!none && !byte) a_.dd(static_cast<u32>(p_.disp));
    }
  }

  Assembler& a_;
  const ir::Native& n_;
  const Placement& p_;
};

}  // namespace

Assembler::Placed Assembler::native(const ir::Native& n, const Pointer& pointer) {
  Placement placement(*this, n, pointer);
  const u32 offset = static_cast<u32>(getSize());
  Encoding(*this, n, placement).emit();
  placement.finish();
  return {offset, placement.borrowed};
}

}  // namespace menura::x64
