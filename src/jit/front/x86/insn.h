// A decoded x86 instruction and the decoder that makes it.
//
// Owner: jit/front/x86. Threads: the decoder is immutable; any thread may use it. No allocation.
// Spec: Intel SDM vol. 2 chapter 2, AMD APM vol. 3 chapter 1; where the vendors differ see README.md.
// Example:
//   Decoder decoder{Mode::Bits64, FeatureSet::all()};
//   Insn insn = decoder.decode(bytes_to_end_of_page);
//   if (insn.status == Status::Ok && insn.mnemonic == Mnemonic::Mov) ... operand(insn, 0) ...
#pragma once

#include <span>

#include "base/types.h"
#include "jit/front/x86/feature.h"
#include "jit/front/x86/row.h"

namespace menura::jit::x86 {

enum class Mode : u8 {
  Bits16,
  Bits32,
  Bits64
};  // default operand and address size of the code segment

enum class Status : u8 {
  Ok,
  Invalid,  // #UD
  TooLong,  // more than 15 bytes: #GP(0)
  NeedMore  // the given bytes end inside the instruction
};

enum class Segment : u8 { Es, Cs, Ss, Ds, Fs, Gs, None };  // as ModRM.reg numbers them

inline constexpr unsigned kMaxLength = 15;

// What was seen before the opcode, and what kind of operand ModRM selects.
namespace seen {
inline constexpr u16 kLock = 1, kRepne = 2, kRep = 4, kOperandSize = 8, kAddressSize = 16,
                     kRex = 32, kVex = 64;
inline constexpr u16 kModrm = 128, kSib = 256;
inline constexpr u16 kMemory = 512;        // ModRM or moffs names a memory operand
inline constexpr u16 kRipRelative = 1024;  // disp counts from the next instruction
inline constexpr u16 kVsib = 2048;         // index is a vector register
}  // namespace seen

// Number of an absent base or index register.
inline constexpr u8 kNoRegister = 0xFF;

struct Insn {
  u64 imm = 0;   // sign- or zero-extended to 64 bits as the row says; offset of a far pointer
  i64 disp = 0;  // displacement of the memory operand, or moffs address
  u16 row = 0;   // see row_of
  Mnemonic mnemonic = Mnemonic::Count;
  u16 seen = 0;  // seen::k...
  u16 imm2 =
      0;  // selector of a far pointer, nesting level of ENTER, second byte of EXTRQ and INSERTQ
  Mode mode = Mode::Bits64;
  Status status = Status::Invalid;
  u8 length = 0;        // bytes; 0 unless Ok
  u8 operand_size = 0;  // bytes: 2, 4 or 8; byte forms have their own rows and do not change it
  u8 address_size = 0;  // bytes: 2, 4 or 8
  u8 vector_size = 0;   // bytes: 16 or 32
  u8 rex = 0;           // W R X B in bits 3..0, from REX or VEX
  u8 opcode = 0;
  u8 modrm = 0;
  u8 reg = 0;  // ModRM.reg with R
  u8 rm = 0;   // ModRM.rm with B; the opcode's register for +r rows
  u8 vvvv = 0;
  u8 base = kNoRegister;  // registers of the memory operand
  u8 index = kNoRegister;
  u8 scale = 0;                   // as a shift count, 0..3
  Segment segment = Segment::Ds;  // of the memory operand or the string source, after defaults
  Segment override_segment = Segment::None;  // as given; None when the mode ignores it
  u8 opcode_at = 0;                          // offsets from the start, for re-emission
  u8 modrm_at = 0;
  u8 imm_at = 0;

  bool has(u16 bits) const { return (seen & bits) != 0; }
  bool is_memory() const { return has(seen::kMemory); }
};
static_assert(sizeof(Insn) <= 48);

// Decodes for one mode and one set of offered features; instructions of other features are Invalid.
class Decoder {
 public:
  constexpr Decoder(Mode mode, FeatureSet offered) : mode_(mode), offered_(offered) {}

  // `code` starts at the instruction and may end anywhere, usually at the end of a page. Bytes behind the
  // instruction are never needed, those within it always are: NeedMore asks for at least one byte more.
  Insn decode(std::span<const u8> code) const;

 private:
  // Configuration
  Mode mode_;
  FeatureSet offered_;
};

const Row& row_of(const Insn& insn);

enum class OperandKind : u8 {
  None,
  Register,
  Memory,
  StringSource,
  StringDest,
  Immediate,
  Relative,
  FarPointer
};

// One operand with sizes resolved. Register 4..7 of a one-byte Gpr is AH, CH, DH, BH when `high`, else SPL...
struct Operand {
  OperandKind kind = OperandKind::None;
  RegClass cls = RegClass::None;
  u8 number = 0;      // of the register
  bool high = false;  // AH, CH, DH or BH: bits 15:8 of register `number`
  bool read = false;
  bool written = false;
  u16 size =
      0;  // bytes of the register, memory access or immediate; 0: no access, or known only at run time
};

inline constexpr unsigned kMaxOperands = 4;
// Operands in Intel's order; kind None behind the last.
Operand operand(const Insn& insn, unsigned which);

// Value of an operand of kind Immediate, extended to 64 bits.
u64 immediate(const Insn& insn, unsigned which);

// Vector register class of VSIB indices: 16 or 32 bytes.
unsigned vsib_index_size(const Insn& insn);

}  // namespace menura::jit::x86
