// The names of registers and of the bits in control registers, and the exception vectors.
//
// Owner: cpu/x86. Threads: constants. Source: Intel SDM vol. 1 §3.4, vol. 3 §2.5 and §6.15.
// Example: `if (state.cr4 & x86::kCr4Pae) ...`
#pragma once

#include "base/types.h"

namespace menura::x86 {

enum Gpr : u8 { Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15 };
enum SegReg : u8 { Es, Cs, Ss, Ds, Fs, Gs };
inline constexpr size_t kGprCount = 16;
inline constexpr size_t kSegCount = 6;
inline constexpr size_t kVectorCount = 16;

// RFLAGS.
enum Rflags : u64 {
  kCf = 1u << 0,
  kPf = 1u << 2,
  kAf = 1u << 4,
  kZf = 1u << 6,
  kSf = 1u << 7,
  kTf = 1u << 8,
  kIf = 1u << 9,
  kDf = 1u << 10,
  kOf = 1u << 11,
  kIopl = 3u << 12,
  kNt = 1u << 14,
  kRf = 1u << 16,
  kVm = 1u << 17,
  kAc = 1u << 18,
  kVif = 1u << 19,
  kVip = 1u << 20,
  kId = 1u << 21,
};
inline constexpr u64 kRflagsAlwaysOne = 2;
inline constexpr u64 kArithmeticFlags = kCf | kPf | kAf | kZf | kSf | kOf;

enum Cr0 : u64 {
  kCr0Pe = 1u << 0,
  kCr0Mp = 1u << 1,
  kCr0Em = 1u << 2,
  kCr0Ts = 1u << 3,
  kCr0Et = 1u << 4,
  kCr0Ne = 1u << 5,
  kCr0Wp = 1u << 16,
  kCr0Am = 1u << 18,
  kCr0Nw = 1u << 29,
  kCr0Cd = 1u << 30,
  kCr0Pg = 1u << 31,
};
enum Cr4 : u64 {
  kCr4Vme = 1u << 0,
  kCr4Pvi = 1u << 1,
  kCr4Tsd = 1u << 2,
  kCr4De = 1u << 3,
  kCr4Pse = 1u << 4,
  kCr4Pae = 1u << 5,
  kCr4Mce = 1u << 6,
  kCr4Pge = 1u << 7,
  kCr4Pce = 1u << 8,
  kCr4Osfxsr = 1u << 9,
  kCr4Osxmmexcpt = 1u << 10,
  kCr4Umip = 1u << 11,
  kCr4La57 = 1u << 12,
  kCr4Fsgsbase = 1u << 16,
  kCr4Pcide = 1u << 17,
  kCr4Osxsave = 1u << 18,
  kCr4Smep = 1u << 20,
  kCr4Smap = 1u << 21,
  kCr4Pke = 1u << 22,
};
enum Efer : u64 {
  kEferSce = 1u << 0,
  kEferLme = 1u << 8,
  kEferLma = 1u << 10,
  kEferNxe = 1u << 11,
  kEferFfxsr = 1u << 14,
};

// Exception vectors.
enum Vector : u8 {
  kDe = 0,
  kDb = 1,
  kNmi = 2,
  kBp = 3,
  kOfTrap = 4,
  kBr = 5,
  kUd = 6,
  kNm = 7,
  kDfault = 8,
  kTs = 10,
  kNp = 11,
  kSsFault = 12,
  kGp = 13,
  kPfault = 14,
  kMf = 16,
  kAcFault = 17,
  kMc = 18,
  kXm = 19,
};

}  // namespace menura::x86
