// The numbers and bits of the local APIC's registers.
//
// Owner: hw/intc, for lapic*.cpp and the accelerators' own chips. Threads: constants.
// A register's number is its xAPIC offset over 10h, and its x2APIC MSR less 800h.
// Source: Intel SDM vol. 3, tables 11-1 and 11-6. Example: `u64 offset = lapic::kSvr * 0x10;`
#pragma once

#include <array>

#include "base/types.h"

namespace menura::lapic {

enum Register : unsigned {
  kId = 0x02,
  kVersion = 0x03,
  kTpr = 0x08,
  kApr = 0x09,
  kPpr = 0x0a,
  kEoi = 0x0b,
  kLdr = 0x0d,
  kDfr = 0x0e,
  kSvr = 0x0f,
  kIsr = 0x10,  // and the next seven
  kTmr = 0x18,
  kIrr = 0x20,
  kEsr = 0x28,
  kIcrLow = 0x30,
  kIcrHigh = 0x31,
  kLvtTimer = 0x32,  // to kLvtError in the order of LapicState::Lvt
  kLvtError = 0x37,
  kTimerInitial = 0x38,
  kTimerCurrent = 0x39,
  kTimerDivide = 0x3e,
  kSelfIpi = 0x3f,  // x2APIC only
};

// Version 14h, LVT entries 0-5, EOI broadcast can be suppressed.
inline constexpr u32 kVersionValue = 0x0105'0014;

inline constexpr u64 kBaseAddress = 0xfee0'0000;  // after reset
inline constexpr u64 kBaseAddressMask = 0x000f'ffff'ffff'f000;

inline constexpr u32 kSvrNoFocus = 1 << 9;
inline constexpr u32 kSvrNoEoiBroadcast = 1 << 12;
inline constexpr u32 kSvrBits = 0x13ff;

inline constexpr u32 kLvtDeliveryStatus = 1 << 12;
inline constexpr u32 kLvtRemoteIrr = 1 << 14;
inline constexpr u32 kLvtLevel = 1 << 15;
inline constexpr u32 kLvtMasked = 1 << 16;
// What software may write: timer, thermal, performance, LINT0, LINT1, error.
inline constexpr std::array<u32, 6> kLvtBits{0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

inline constexpr u32 kEsrSentIllegalVector = 1 << 5;
inline constexpr u32 kEsrReceivedIllegalVector = 1 << 6;
inline constexpr u32 kEsrIllegalRegister = 1 << 7;

inline constexpr u32 kTimerDivideBits = 0xb;

// The logical ID that an x2APIC derives from its ID (§11.12.10.2).
constexpr u32 x2apic_ldr(u32 id) { return (id >> 4) << 16 | 1u << (id & 15); }

}  // namespace menura::lapic
