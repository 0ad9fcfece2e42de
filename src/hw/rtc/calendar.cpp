#include "hw/rtc/calendar.h"

namespace menura {

namespace {

constexpr i64 kDay = 86'400;

bool is_leap(i64 year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

// Days from 1970-01-01 to January 1st of a year.
i64 days_before(i64 year) {
  const i64 y = year - 1;
  const i64 leaps = floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400);
  constexpr i64 kLeapsBefore1970 = 1969 / 4 - 1969 / 100 + 1969 / 400;
  return 365 * (year - 1970) + leaps - kLeapsBefore1970;
}

int month_length(i64 year, int month) {
  constexpr int kLengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return kLengths[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

}  // namespace

CalendarTime calendar_of(i64 seconds) {
  const i64 days = floor_div(seconds, kDay);
  const int rest = static_cast<int>(seconds - days * kDay);
  i64 year = 1969 + floor_div(days * 400, 146'097);  // never too late
  while (days_before(year + 1) <= days) year++;
  int day = static_cast<int>(days - days_before(year)) + 1;
  int month = 1;
  while (day > month_length(year, month)) day -= month_length(year, month++);
  const i64 weekday = days + 4 - 7 * floor_div(days + 4, 7);  // 1970-01-01 was a Thursday
  return {.year = static_cast<int>(year),
          .month = month,
          .day = day,
          .hour = rest / 3600,
          .minute = rest / 60 % 60,
          .second = rest % 60,
          .weekday = static_cast<int>(weekday) + 1};
}

i64 seconds_of(const CalendarTime& time) {
  const i64 months = i64{12} * time.year + time.month - 1;
  const i64 year = floor_div(months, 12);
  i64 days = days_before(year) + time.day - 1;
  for (int month = 1; month <= months - 12 * year; month++) days += month_length(year, month);
  return days * kDay + time.hour * i64{3600} + time.minute * i64{60} + time.second;
}

}  // namespace menura
