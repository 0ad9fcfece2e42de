// The assembler under the x64 back end: Xbyak plus what every part of the back end says often.
//
// Owner: jit/back/x64 (private to it). Threads: one user.
// Example: `Assembler a(layout, at, room); a.mov(a.t0, a.home(11));`
#pragma once

#define XBYAK_NO_EXCEPTION
#include <xbyak/xbyak.h>

#include "jit/back/x64/layout.h"
#include "jit/ir/block.h"

namespace menura::x64 {

class Assembler : public Xbyak::CodeGenerator {
 public:
  Assembler(const Layout& layout, u8* at, size_t room) : CodeGenerator(room, at), layout_(layout) {}

  // Goes on somewhere else.
  void begin(u8* at, size_t room) {
    reset();
    top_ = at;
    maxSize_ = room;
  }

  const Layout& layout() const { return layout_; }
  const Xbyak::Reg64 t0 = r10, t1 = r11;

  Xbyak::Reg64 host(unsigned guest) const { return Xbyak::Reg64(static_cast<int>(host_of(guest))); }
  // A field of the vCPU block, and a guest register's place there.
  Xbyak::Address field(u32 offset) { return qword[rsp + offset]; }
  Xbyak::Address field32(u32 offset) { return dword[rsp + offset]; }
  Xbyak::Address field16(u32 offset) { return word[rsp + offset]; }
  Xbyak::Address home(unsigned guest) { return qword[rsp + layout_.gpr + 8 * guest]; }
  void gs() { db(0x65); }

  // The guest's flags to and from the vCPU block.
  void save_flags(const Xbyak::Reg64& free) {
    mov(free, rax);
    lahf();
    seto(al);
    mov(field16(layout_.flags), ax);
    mov(rax, free);
  }
  void restore_flags(const Xbyak::Reg64& free) {
    mov(free, rax);
    unpack_flags();
    mov(rax, free);
  }
  void restore_flags_without_register() {
    mov(home(0), rax);
    unpack_flags();
    mov(rax, home(0));
  }
  // Through rax.
  void unpack_flags() {
    movzx(eax, field16(layout_.flags));
    add(al, 0x7f);  // OF from bit 0
    sahf();
  }

  // Where P is.
  struct Pointer {
    enum Kind : u8 { None, Sum, InT0, InT1 } kind = None;  // [t0 + t1], [t0 + disp], [t1 + disp]
    i32 disp = 0;
  };
  Xbyak::RegExp at(const Pointer& p) const {
    if (p.kind == Pointer::Sum) return t0 + t1;
    return (p.kind == Pointer::InT0 ? t0 : t1) + static_cast<size_t>(p.disp);
  }

  // Re-emits a template. Gives back the offset of the instruction itself and the guest registers that
  // it had to borrow. With P in one of the scratch registers the other may be destroyed if the template has
  // operands that are not pinned, and with two such operands both if there is no P.
  struct Placed {
    u32 offset;
    u16 borrowed;
  };
  Placed native(const ir::Native& n, const Pointer& pointer);

 private:
  const Layout& layout_;
};

}  // namespace menura::x64
