// The linear IR of one translated block: what a front end says and a back end emits.
//
// Owner: jit/ir. Threads: a value, built and consumed by one thread. Design: src/jit/ir/README.md.
// Registers are the guest's, 0..15; guest status flags are one implicit value in the bits of the
// front end's choice (1 bit each), which the back end may keep in host flags. `Native` operations
// carry an instruction of the host's own set as a template (same-ISA translation). Example:
//   Block b; b.begin(key); b.insn(pc); b.check(Opcode::CheckLoad, 8, address); b.native(add); b.jump(next);
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"

namespace menura::ir {

enum class Opcode : u8 {
#define OPCODE(name, uses, effects, what) name,
#include "jit/ir/opcodes.def"
#undef OPCODE
  Count
};

inline constexpr u8 kNone = 0xff;  // an absent register or segment

// base + index << scale + disp, truncated to `size` bytes, plus the segment's base.
struct Address {
  i64 disp = 0;
  u8 base = kNone;
  u8 index = kNone;
  u8 scale = 0;
  u8 size = 8;           // 2, 4 or 8
  u8 segment = kNone;    // kNone: base is known to be 0
  bool limited = false;  // the access must end inside the segment, else the block is left
  u8 wrap = 8;           // the sum with the segment base is truncated to 4 or 8 bytes
  bool operator==(const Address&) const = default;
};

// An operand of a template. General registers are renamed by the back end, all others stay.
struct Operand {
  enum Kind : u8 { Absent, Fixed, General, Memory };
  Kind kind = Absent;
  u8 number = 0;
  u8 bytes = 0;       // of a general register: 1 needs REX to name SPL..
  bool high = false;  // AH, CH, DH, BH: number is that of the whole register
  bool read = false;
  bool written = false;
};

// A host instruction with holes for its registers and its memory operand.
struct Native {
  enum Map : u8 { One, Two, Three38, Three3A, Vex1, Vex2, Vex3 };
  Map map = One;
  u8 opcode = 0;
  bool operand16 = false;  // 66
  u8 repeat = 0;           // F2 or F3 when mandatory
  bool lock = false;
  bool wide = false;  // W
  bool vex_l = false;
  bool modrm = false;
  bool plus_reg = false;  // `rm` goes into the opcode
  u8 vex_pp = 0;
  u8 imm_size = 0;  // bytes
  u64 imm = 0;
  Operand reg, rm, vvvv;
  u16 general_used = 0;          // bit per guest register touched, implicit ones as well
  u16 general_written = 0xffff;  // or perhaps written
  bool may_trap = false;         // can raise a host signal by itself
  bool flags = false;            // reads or writes status flags
};

enum class ExitReason : u8 {
  Next,   // look the pc up and go on; the exit may be linked to its target
  Apart,  // the same, and the target is to be a block whose accesses are checked one by one
  Step,   // execute the instruction at pc outside of translated code
  Poll,   // somebody asked for attention
  Done,   // end of a one-instruction thunk
};

struct Op {
  Opcode code = Opcode::Insn;
  u8 size = 0;  // bytes
  // Of a check: a signed number of bits, beyond the address by whole units of `size`.
  u8 reg = kNone;
  u8 condition = 0;  // x86 condition code, or ExitReason
  u8 flags_read = 0;
  u8 flags_written = 0;
  u8 flags_live = 0;  // before the operation; filled by the liveness pass
  bool poll = false;  // Insn: look for interrupts here
  u16 insn = 0;       // index into Block::pcs
  u16 native = 0;     // index into Block::natives, or foreigns
  u64 imm = 0;
  u64 taken = 0;
  Address address;
};

// The front end's own description of an instruction, handed to the engine when it executes it.
struct Foreign {
  alignas(8) std::array<std::byte, 48> bytes{};
};

// Of Key::mode: each access is checked by itself.
inline constexpr u32 kApart = 1u << 31;

// Which code a block translates: the pc and everything the meaning of its bytes depends on.
struct Key {
  u64 pc = 0;         // instruction pointer
  u64 physical = 0;   // of the first byte
  u64 code_base = 0;  // linear = pc + code_base
  u32 mode = 0;       // bits of the front end's choice, and kApart
  bool operator==(const Key&) const = default;
};

// Code behind a block's end that its translation was judged by, though it is not translated there.
struct Ahead {
  static constexpr size_t kMost = 32;
  u64 physical = 0;
  u8 size = 0;  // bytes; 0: none
  std::array<u8, kMost> bytes{};
};

inline constexpr u8 kAllFlags = 0x3f;

struct Block {
  Key key;
  std::vector<Op> ops;
  std::vector<Native> natives;
  std::vector<Foreign> foreigns;
  std::vector<u64> pcs;         // of the instructions; one more than instructions: the end
  u64 bytes = 0;                // guest code covered
  u8 flags_wanted = kAllFlags;  // by whoever goes on behind the end
  Ahead ahead;                  // why not all
  bool keeps_pointers = false;  // one check may serve several accesses

  void begin(const Key& start);
  Op& add(Opcode code);
  void insn(u64 pc);
  void check(Opcode code, u8 size, const Address& address);
  void native(const Native& native, u8 flags_read, u8 flags_written);
  // Reads all status flags, and may write them.
  void step(u64 pc, const Foreign& description);
  // An operation that may leave its instruction, at pc, to the engine.
  Op& rarely_foreign(Opcode code, u64 pc, const Foreign& description);
  void jump(u64 pc);
  void exit(ExitReason reason, u64 pc);
  bool ended() const;
};

std::string_view name(Opcode code);
std::string_view uses(Opcode code);
bool has_effect(Opcode code, char effect);

std::string print(const Block& block);
// Empty, or what is wrong: fields out of range, a pointer used before a check, code behind the end.
std::string verify(const Block& block);

}  // namespace menura::ir
