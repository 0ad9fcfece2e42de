// Calendar: seconds since 1970 to and from the fields of a clock, in the Gregorian calendar.
//
// Owner: hw/rtc. Threads: pure functions. Fields out of their range carry into the next ones, as a
// guest may write them. Example: `CalendarTime t = calendar_of(0);  // 1970-01-01 00:00:00, Thursday`
#pragma once

#include "base/types.h"

namespace menura {

struct CalendarTime {
  int year = 1970;
  int month = 1;  // 1-12
  int day = 1;    // 1-31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int weekday = 5;  // 1-7, Sunday is 1
  bool operator==(const CalendarTime&) const = default;
};

// Rounds down, also below zero; b is positive.
constexpr i64 floor_div(i64 a, i64 b) { return a / b - (a % b < 0 ? 1 : 0); }

CalendarTime calendar_of(i64 seconds);
// Ignores the weekday.
i64 seconds_of(const CalendarTime& time);

}  // namespace menura
