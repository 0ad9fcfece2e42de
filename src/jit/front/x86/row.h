// One row of the opcode tables: everything the manuals say about one instruction form.
//
// Owner: jit/front/x86. Threads: immutable data. Spec: Intel SDM vol. 2, appendix A (operand letters) and chapters 3-6.
// Rows live in rows_*.def, written with the words of rows.h; the decoder, the printer, feature gating, LOCK legality
// and the translator derive everything from them. Example:
//   const Row& row = row_of(insn);
//   if (row.attributes & attr::kCpl0) ...
#pragma once

#include "base/types.h"
#include "jit/front/x86/feature.h"
#include "jit/front/x86/mnemonic.h"

namespace menura::jit::x86 {

// Where an operand is encoded.
enum class Place : u8 {
  None,
  Reg,           // ModRM.reg
  Rm,            // ModRM.rm: register, or memory when mod != 3
  Opcode,        // low three bits of the opcode
  Vvvv,          // VEX.vvvv
  Is4,           // bits 7:4 of an immediate byte
  Fixed,         // named by the row
  Imm,           // zero-extended immediate
  ImmSigned,     // immediate sign-extended to the operand size
  Imm2,          // second immediate (ENTER, EXTRQ, INSERTQ)
  One,           // the constant 1 of D0/D1 shifts
  Rel,           // branch displacement
  Far,           // immediate far pointer
  Moffs,         // immediate absolute address
  StringSource,  // [rSI]
  StringDest,    // ES:[rDI]
  Vsib           // memory at a vector of indices
};

enum class RegClass : u8 { None, Gpr, Segment, Control, Debug, X87, Mmx, Vector };

// Sizes as the manuals' second letters give them. "Operand size" is Insn::operand_size.
enum class Size : u8 {
  None,    // an address only
  B,       // 1
  W,       // 2
  D,       // 4
  Q,       // 8
  T,       // 10
  Dq,      // 16
  Qq,      // 32
  V,       // operand size
  Z,       // operand size, at most 4
  Y,       // 8 with W in 64-bit mode, else 4
  Native,  // 8 in 64-bit mode, else 4
  Far,     // operand size, at most 4, plus a selector
  Pair,    // twice the operand size
  Desc,    // descriptor-table register: 6, in 64-bit mode 10
  Env,     // x87 environment: 14 or 28
  State,   // x87 state: 94 or 108
  Fx,      // 512
  Xsave,   // known at run time
  X,       // vector length
  X2,      // half, quarter, eighth of it
  X4,
  X8
};

// One operand of a row, as encoded. `fixed` is the register number when place is Fixed.
struct Op {
  Place place = Place::None;
  RegClass cls = RegClass::None;
  Size reg_size = Size::None;
  Size mem_size = Size::None;  // of memory and of immediates
  u8 fixed = 0;
};

// Two bits per operand, the first lowest: 1 read, 2 written.
using Access = u8;

// Flags an instruction reads, writes with a defined value, and leaves undefined.
namespace flag {
inline constexpr u8 kCf = 1, kPf = 2, kAf = 4, kZf = 8, kSf = 16, kOf = 32, kDf = 64, kIf = 128;
inline constexpr u8 kStatus = kCf | kPf | kAf | kZf | kSf | kOf;
}  // namespace flag
struct FlagEffect {
  u8 read = 0;
  u8 written = 0;
  u8 undefined = 0;
};

// Low general registers used without being named by an operand; bit n is register n. String instructions name
// rSI and rDI by their operands; the stack pointer is implied by attr::kStack.
struct Implicit {
  u8 read = 0;
  u8 written = 0;
};

// What kind of control transfer ends the block, in attributes under kControlMask.
enum class Control : u8 {
  None,
  Jump,          // direct, unconditional
  Branch,        // direct, conditional
  Call,          // direct
  JumpIndirect,  // near
  CallIndirect,  // near
  Return,        // near
  Far,           // far jump, call or return, IRET
  Trap,          // INT n, INT3, INT1, INTO, UD0-2, hypercalls
  System,        // SYSCALL and its kin, RSM, HLT, MWAIT
  Serialize      // falls through, but may change the mode, mapping or interrupt state
};

namespace attr {
inline constexpr u32 kLock = 1u << 0;       // LOCK legal with a memory destination
inline constexpr u32 kDefault64 = 1u << 1;  // operand size defaults to 64 in 64-bit mode
inline constexpr u32 kNativeSize =
    1u << 2;  // operand size is 64 in 64-bit mode, else 32, whatever the prefixes
inline constexpr u32 kRep = 1u << 3;       // REP repeats it
inline constexpr u32 kRepWhile = 1u << 4;  // REPE and REPNE repeat it while ZF agrees
inline constexpr u32 kCpl0 = 1u << 5;      // #GP outside CPL 0
inline constexpr u32 kIo = 1u << 6;        // checked against IOPL and the I/O permission bitmap
inline constexpr u32 kIopl =
    1u << 7;  // depends on IOPL (CLI, STI, PUSHF and INT n in virtual-8086 mode)
inline constexpr u32 kProtected = 1u << 8;  // #UD in real and virtual-8086 mode
inline constexpr u32 kUmip = 1u << 9;       // CR4.UMIP forbids it outside CPL 0
inline constexpr u32 kStack = 1u << 10;     // pushes or pops
inline constexpr u32 kString = 1u << 11;    // steps rSI or rDI by DF
inline constexpr u32 kEmit =
    1u << 12;  // needs its own emitter for a reason no other attribute gives
inline constexpr u32 kAligned =
    1u << 13;  // #GP on a misaligned memory operand, also where SSE's rule does not say so
inline constexpr u32 kUnaligned =
    1u << 14;  // SSE form with a 16-byte memory operand that may be misaligned
inline constexpr u32 kCountedFlags = 1u << 15;  // a zero count leaves all flags as they were
inline constexpr u32 kBitString = 1u << 16;  // register bit index reaches beyond the memory operand
inline constexpr u32 kMasked = 1u << 17;     // touches memory only where a mask says so
inline constexpr u32 kPrefixFallback = 1u
                                       << 18;  // without its feature decodes as if F3 were absent
inline constexpr u32 kYmmIsAvx2 = 1u << 19;    // the 256-bit form belongs to AVX2
inline constexpr u32 kX87 = 1u << 20;       // touches x87 or MMX state though no operand shows it
inline constexpr u32 kSse = 1u << 21;       // touches SSE state though no operand shows it
inline constexpr u32 kDistinct = 1u << 22;  // gather: equal destination, index and mask are #UD
inline constexpr unsigned kControlShift = 28;
constexpr u32 control(Control kind) { return static_cast<u32>(kind) << kControlShift; }
}  // namespace attr

// Where a row sits: opcode in bits 7:0, map in 11:8, then one bit per admissible value of each selecting field.
// Rows narrow it with & (see rows.h).
using Encoding = u64;

enum class Map : u8 { One, Two, Three38, Three3A, Vex1, Vex2, Vex3, Count };

struct Row {
  Mnemonic mnemonic;
  Encoding encoding;
  Op operands[4];
  Access access = 0;
  Feature feature = Feature::Base;
  u32 attributes = 0;
  FlagEffect flags = {};
  Implicit implicit = {};

  constexpr Map map() const { return static_cast<Map>(encoding >> 8 & 15); }
  constexpr u8 opcode() const { return static_cast<u8>(encoding); }
  constexpr bool is_vex() const { return map() >= Map::Vex1; }
  constexpr Control control() const {
    return static_cast<Control>(attributes >> attr::kControlShift);
  }
};

// Register state an instruction needs enabled (CR0.EM and TS, CR4.OSFXSR, XCR0).
enum class Unit : u8 { Integer, X87, Mmx, Sse, Avx };

// Native: the same bytes, with registers and memory operand substituted, may run on an x86-64 host.
enum class Lowering : u8 { Native, Emitter };

// How a row uses its memory operand.
enum class MemoryUse : u8 { None, Load, Store, Modify, AddressOnly };

Unit unit(const Row& row);
// True for MMX forms, also those whose unit is Sse (CVTPI2PS): they switch the x87 state to MMX.
bool touches_mmx(const Row& row);
// Whether an unmasked x87 exception that is pending comes before the instruction does anything: all
// but the forms without WAIT and those that save and restore whole areas.
bool waits_for_x87(const Row& row);
Lowering lowering(const Row& row);
MemoryUse memory_use(const Row& row);
FeatureSet needed(const Row& row, bool ymm);
// What the address of a memory operand of `bytes` must be a multiple of, else #GP(0); 1 if it need not.
unsigned alignment(const Row& row, unsigned bytes);

}  // namespace menura::jit::x86
