// The words rows_*.def is written in, and the table they make. Included only by the room's own .cpp files.
//
// Owner: jit/front/x86. Threads: constants. Spec: Intel SDM vol. 2, appendix A.2 (operand codes).
// A row: {mnemonic, encoding, {operands}, access, feature, attributes, flags, implicit registers}, e.g.
//   {M::Add, op(0x00), {Eb, Gb}, kModify, F::Base, kLock, kArith}
//   {M::Vpshufd, vex1(0x70) & P66, {Vx, Wx, Ib}, kWrite, F::Avx, kYmmIsAvx2}
#pragma once

#include "jit/front/x86/row.h"

namespace menura::jit::x86::rows {

using namespace attr;
using M = Mnemonic;
using F = Feature;

// Selecting fields of an encoding: one bit per admissible value.
struct Field {
  unsigned shift;
  unsigned values;
  constexpr Encoding all() const { return ((Encoding{1} << values) - 1) << shift; }
  constexpr Encoding only(unsigned value_mask) const {
    return ~(all() & ~(Encoding{value_mask} << shift));
  }
};
inline constexpr Field kPrefixField{12, 4};  // none, 66, F3, F2 (the order of VEX.pp)
inline constexpr Field kRegField{16, 8};     // ModRM.reg
inline constexpr Field kModField{24, 2};     // memory, register
inline constexpr Field kRmField{26, 8};      // ModRM.rm
inline constexpr Field kWField{34, 2};       // REX.W, VEX.W
inline constexpr Field kLField{36, 2};       // VEX.L
inline constexpr Field kModeField{38, 2};    // 16- and 32-bit modes, 64-bit mode
inline constexpr Field kBField{40, 2};       // REX.B
inline constexpr Encoding kPlusR = Encoding{1} << 42;

constexpr Encoding in(Map map, unsigned opcode) {
  Encoding fields = kPrefixField.all() | kRegField.all() | kModField.all() | kRmField.all() |
                    kWField.all() | kLField.all() | kModeField.all() | kBField.all();
  return fields | static_cast<Encoding>(map) << 8 | opcode;
}
constexpr Encoding op(unsigned opcode) { return in(Map::One, opcode); }
constexpr Encoding plus_r(unsigned opcode) { return in(Map::One, opcode) | kPlusR; }
constexpr Encoding op0F(unsigned opcode) { return in(Map::Two, opcode); }
constexpr Encoding op0F_plus_r(unsigned opcode) { return in(Map::Two, opcode) | kPlusR; }
constexpr Encoding op38(unsigned opcode) { return in(Map::Three38, opcode); }
constexpr Encoding op3A(unsigned opcode) { return in(Map::Three3A, opcode); }
constexpr Encoding vex1(unsigned opcode) { return in(Map::Vex1, opcode); }
constexpr Encoding vex2(unsigned opcode) { return in(Map::Vex2, opcode); }
constexpr Encoding vex3(unsigned opcode) { return in(Map::Vex3, opcode); }

inline constexpr Encoding NP = kPrefixField.only(1), P66 = kPrefixField.only(2),
                          PF3 = kPrefixField.only(4), PF2 = kPrefixField.only(8),
                          NP66 = kPrefixField.only(3), NoF3 = kPrefixField.only(11);
// The manuals' /0 to /7.
inline constexpr Encoding S0 = kRegField.only(1), S1 = kRegField.only(2), S2 = kRegField.only(4),
                          S3 = kRegField.only(8), S4 = kRegField.only(16), S5 = kRegField.only(32),
                          S6 = kRegField.only(64), S7 = kRegField.only(128);
constexpr Encoding regs(unsigned mask) { return kRegField.only(mask); }
constexpr Encoding rm(unsigned value) { return kRmField.only(1u << value); }
inline constexpr Encoding Mem = kModField.only(1), Reg = kModField.only(2);
inline constexpr Encoding W0 = kWField.only(1), W1 = kWField.only(2), L0 = kLField.only(1),
                          L1 = kLField.only(2);
inline constexpr Encoding N64 = kModeField.only(1),
                          O64 = kModeField.only(2);  // not, and only, in 64-bit mode
inline constexpr Encoding B0 = kBField.only(1), B1 = kBField.only(2);

// Operands. Second letters: see Size. A pair such as RvMw is "register of operand size or 16-bit memory".
constexpr Op general(Place place, Size size) { return {place, RegClass::Gpr, size, size}; }
constexpr Op vector(Place place, Size size, Size memory) {
  return {place, RegClass::Vector, size, memory};
}
constexpr Op memory(Size size) { return {Place::Rm, RegClass::None, Size::None, size}; }
constexpr Op immediate(Place place, Size size) { return {place, RegClass::None, Size::None, size}; }
constexpr Op fixed(RegClass cls, Size size, u8 number) {
  return {Place::Fixed, cls, size, size, number};
}
constexpr Op indexed(Size index, Size element) {
  return {Place::Vsib, RegClass::Vector, index, element};
}

inline constexpr Op Eb = general(Place::Rm, Size::B), Ew = general(Place::Rm, Size::W),
                    Ed = general(Place::Rm, Size::D), Eq = general(Place::Rm, Size::Q),
                    Ev = general(Place::Rm, Size::V), Ey = general(Place::Rm, Size::Y);
inline constexpr Op RvMw = {Place::Rm, RegClass::Gpr, Size::V, Size::W},
                    RzMw = {Place::Rm, RegClass::Gpr, Size::Z, Size::W},
                    RdMb = {Place::Rm, RegClass::Gpr, Size::D, Size::B},
                    RdMw = {Place::Rm, RegClass::Gpr, Size::D, Size::W};
inline constexpr Op Ry = Ey, Rv = Ev, Rn = general(Place::Rm, Size::Native);
inline constexpr Op Gb = general(Place::Reg, Size::B), Gw = general(Place::Reg, Size::W),
                    Gd = general(Place::Reg, Size::D), Gv = general(Place::Reg, Size::V),
                    Gy = general(Place::Reg, Size::Y), Gn = general(Place::Reg, Size::Native);
inline constexpr Op Zb = general(Place::Opcode, Size::B), Zv = general(Place::Opcode, Size::V);
inline constexpr Op By = general(Place::Vvvv, Size::Y);
inline constexpr Op M_ = memory(Size::None), Mb = memory(Size::B), Mw = memory(Size::W),
                    Md = memory(Size::D), Mq = memory(Size::Q), Mt = memory(Size::T),
                    Mdq = memory(Size::Dq), Mx = memory(Size::X), Mv = memory(Size::V),
                    My = memory(Size::Y), Mp = memory(Size::Far), Ma = memory(Size::Pair),
                    Ms = memory(Size::Desc), Menv = memory(Size::Env), Mstate = memory(Size::State),
                    Mfx = memory(Size::Fx), Mxs = memory(Size::Xsave);
inline constexpr Op Ib = immediate(Place::Imm, Size::B), Iw = immediate(Place::Imm, Size::W),
                    Ibs = immediate(Place::ImmSigned, Size::B),
                    Iz = immediate(Place::ImmSigned, Size::Z), Iv = immediate(Place::Imm, Size::V),
                    Ib2 = immediate(Place::Imm2, Size::B), I1 = immediate(Place::One, Size::B),
                    Jb = immediate(Place::Rel, Size::B), Jz = immediate(Place::Rel, Size::Z),
                    Ap = immediate(Place::Far, Size::Far), Ob = immediate(Place::Moffs, Size::B),
                    Ov = immediate(Place::Moffs, Size::V);
inline constexpr Op Xb = immediate(Place::StringSource, Size::B),
                    Xv = immediate(Place::StringSource, Size::V),
                    Xz = immediate(Place::StringSource, Size::Z),
                    Yb = immediate(Place::StringDest, Size::B),
                    Yv = immediate(Place::StringDest, Size::V),
                    Yz = immediate(Place::StringDest, Size::Z);
inline constexpr Op rAL = fixed(RegClass::Gpr, Size::B, 0), rCL = fixed(RegClass::Gpr, Size::B, 1),
                    rDX = fixed(RegClass::Gpr, Size::W, 2), rAX = fixed(RegClass::Gpr, Size::V, 0),
                    eAX = fixed(RegClass::Gpr, Size::Z, 0), rAXw = fixed(RegClass::Gpr, Size::W, 0);
inline constexpr Op sES = fixed(RegClass::Segment, Size::W, 0),
                    sCS = fixed(RegClass::Segment, Size::W, 1),
                    sSS = fixed(RegClass::Segment, Size::W, 2),
                    sDS = fixed(RegClass::Segment, Size::W, 3),
                    sFS = fixed(RegClass::Segment, Size::W, 4),
                    sGS = fixed(RegClass::Segment, Size::W, 5);
inline constexpr Op Sw = {Place::Reg, RegClass::Segment, Size::W, Size::W},
                    Cn = {Place::Reg, RegClass::Control, Size::Native, Size::Native},
                    Dn = {Place::Reg, RegClass::Debug, Size::Native, Size::Native};
inline constexpr Op ST0 = fixed(RegClass::X87, Size::T, 0),
                    STi = {Place::Rm, RegClass::X87, Size::T, Size::T};
inline constexpr Op Pq = {Place::Reg, RegClass::Mmx, Size::Q, Size::Q},
                    Qq = {Place::Rm, RegClass::Mmx, Size::Q, Size::Q},
                    Qd = {Place::Rm, RegClass::Mmx, Size::Q, Size::D}, Nq = Qq;
inline constexpr Op Vx = vector(Place::Reg, Size::X, Size::X),
                    Vdq = vector(Place::Reg, Size::Dq, Size::Dq),
                    Vqq = vector(Place::Reg, Size::Qq, Size::Qq);
inline constexpr Op Hx = vector(Place::Vvvv, Size::X, Size::X),
                    Hdq = vector(Place::Vvvv, Size::Dq, Size::Dq),
                    Hqq = vector(Place::Vvvv, Size::Qq, Size::Qq);
inline constexpr Op Wx = vector(Place::Rm, Size::X, Size::X),
                    Wdq = vector(Place::Rm, Size::Dq, Size::Dq),
                    Wqq = vector(Place::Rm, Size::Qq, Size::Qq),
                    Wq = vector(Place::Rm, Size::Dq, Size::Q),
                    Wd = vector(Place::Rm, Size::Dq, Size::D),
                    Ww = vector(Place::Rm, Size::Dq, Size::W),
                    Wb = vector(Place::Rm, Size::Dq, Size::B);
// Half, quarter and eighth of the vector length: the register is never narrower than xmm.
inline constexpr Op W2 = vector(Place::Rm, Size::X2, Size::X2),
                    W4 = vector(Place::Rm, Size::X4, Size::X4),
                    W8 = vector(Place::Rm, Size::X8, Size::X8);
inline constexpr Op Udq = Wdq, Ux = Wx;
inline constexpr Op Lx = vector(Place::Is4, Size::X, Size::B),
                    Xmm0 = fixed(RegClass::Vector, Size::Dq, 0);
inline constexpr Op VMx_d = indexed(Size::X, Size::D), VMx_q = indexed(Size::X, Size::Q),
                    VMdq_q = indexed(Size::Dq, Size::Q);

// Access of the operands in order.
inline constexpr Access kNone = 0, kRead = 0b01010101, kWrite = 0b01010110, kModify = 0b01010111,
                        kSwap = 0b01011111, kWrite2 = 0b01011010, kGather = 0b01110111;

// Flag effects.
using namespace flag;
inline constexpr FlagEffect kArith{0, kStatus, 0}, kArithCarry{kCf, kStatus, 0},
    kLogic{0, kCf | kOf | kSf | kZf | kPf, kAf}, kIncDec{0, kStatus & ~kCf, 0};
inline constexpr FlagEffect kShift{0, kCf | kPf | kZf | kSf | kOf, kAf},
    kShiftCount{0, kCf | kPf | kZf | kSf, kAf | kOf}, kRotate{0, kCf | kOf, 0},
    kRotateCount{0, kCf, kOf}, kRotateCarry{kCf, kCf | kOf, 0}, kRotateCarryCount{kCf, kCf, kOf};
inline constexpr FlagEffect kMultiply{0, kCf | kOf, kSf | kZf | kAf | kPf}, kDivide{0, 0, kStatus},
    kBit{0, kCf, kOf | kSf | kAf | kPf}, kScan{0, kZf, kCf | kOf | kSf | kAf | kPf},
    kCount{0, kCf | kZf, kOf | kSf | kAf | kPf};
inline constexpr FlagEffect kAdjust{kAf, kAf | kCf, kOf | kSf | kZf | kPf},
    kDecimal{kAf | kCf, kStatus & ~kOf, kOf}, kAscii{0, kSf | kZf | kPf, kOf | kAf | kCf};
inline constexpr FlagEffect kWritesZf{0, kZf, 0}, kReadsCf{kCf, 0, 0}, kReadsZf{kZf, 0, 0},
    kReadsDf{kDf, 0, 0}, kStringCompare{kDf, kStatus, 0}, kAll{0, 255, 0}, kReadsAll{255, 0, 0};
inline constexpr FlagEffect kBmi{0, kCf | kOf | kSf | kZf, kAf | kPf},
    kBextr{0, kCf | kOf | kZf, kSf | kAf | kPf};
inline constexpr FlagEffect kFcmov[]{{kCf, 0, 0}, {kZf, 0, 0}, {kCf | kZf, 0, 0}, {kPf, 0, 0}};
inline constexpr FlagEffect kFcomi{0, kStatus, 0};

// Condition codes 0 to F in the order of the opcode.
inline constexpr FlagEffect kOn[16]{{kOf, 0, 0},
                                    {kOf, 0, 0},
                                    {kCf, 0, 0},
                                    {kCf, 0, 0},
                                    {kZf, 0, 0},
                                    {kZf, 0, 0},
                                    {kCf | kZf, 0, 0},
                                    {kCf | kZf, 0, 0},
                                    {kSf, 0, 0},
                                    {kSf, 0, 0},
                                    {kPf, 0, 0},
                                    {kPf, 0, 0},
                                    {kSf | kOf, 0, 0},
                                    {kSf | kOf, 0, 0},
                                    {kSf | kOf | kZf, 0, 0},
                                    {kSf | kOf | kZf, 0, 0}};

// Implicit registers by their bits: A, C, D, B, SP, BP, SI, DI.
inline constexpr u8 rA = 1, rC = 2, rD = 4, rB = 8, rDI = 128, rBP = 32;

// Control transfers.
inline constexpr u32 kJump = control(Control::Jump), kBranch = control(Control::Branch),
                     kCall = control(Control::Call), kJumpIndirect = control(Control::JumpIndirect),
                     kCallIndirect = control(Control::CallIndirect),
                     kReturn = control(Control::Return), kFar = control(Control::Far),
                     kTrap = control(Control::Trap), kSystem = control(Control::System),
                     kSerialize = control(Control::Serialize);

}  // namespace menura::jit::x86::rows
