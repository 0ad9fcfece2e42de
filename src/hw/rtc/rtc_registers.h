// The numbers and bits of the MC146818A's registers, and its divider's rate.
//
// Owner: hw/rtc. Threads: constants. Source: MC146818A data sheet, "Registers".
// Example: `cmos_[rtc::kB] & rtc::kSet`
#pragma once

#include "base/types.h"
#include "base/units.h"

namespace menura::rtc {

enum Register : u8 {
  kSeconds,
  kSecondsAlarm,
  kMinutes,
  kMinutesAlarm,
  kHours,
  kHoursAlarm,
  kWeekday,
  kDay,
  kMonth,
  kYear,
  kA,
  kB,
  kC,
  kD,
};

inline constexpr u8 kPm = 0x80;        // of an hour
inline constexpr u8 kAnyAlarm = 0xc0;  // both bits: every value matches
// Register A.
inline constexpr u8 kUpdateInProgress = 0x80;
inline constexpr u8 kDividerReset = 0x60;  // both bits
inline constexpr u8 kDivider32k = 0x20;
inline constexpr u8 kRate = 0x0f;
// Register B.
inline constexpr u8 kSet = 0x80;
inline constexpr u8 kPeriodicEnable = 0x40;
inline constexpr u8 kAlarmEnable = 0x20;
inline constexpr u8 kUpdateEnable = 0x10;
inline constexpr u8 kSquareWave = 0x08;
inline constexpr u8 kBinary = 0x04;
inline constexpr u8 k24Hours = 0x02;
// Register C; the enables in register B are the same bits.
inline constexpr u8 kInterrupt = 0x80;
inline constexpr u8 kPeriodicFlag = 0x40;
inline constexpr u8 kAlarmFlag = 0x20;
inline constexpr u8 kUpdateFlag = 0x10;
// Register D.
inline constexpr u8 kValidRam = 0x80;

// UIP rises 244 us before the update, which takes 1984 us and ends with the second.
inline constexpr i64 kUpdateNs = 2'228'000;

inline constexpr i64 kTicksPerSecond = 32'768;
// Ticks of the time base at a time of the divider chain, and when one begins.
inline i64 tick_of(i64 ns) {
  const __int128 scaled = static_cast<__int128>(ns) * kTicksPerSecond;
  return static_cast<i64>(scaled / kNsPerSecond - (scaled % kNsPerSecond < 0 ? 1 : 0));
}
inline i64 tick_ns(i64 tick) {
  const __int128 scaled = static_cast<__int128>(tick) * kNsPerSecond;
  return static_cast<i64>(scaled / kTicksPerSecond + (scaled % kTicksPerSecond > 0 ? 1 : 0));
}

}  // namespace menura::rtc
