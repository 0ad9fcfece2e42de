#include "machine/pc/pc_clock.h"

#include <cstdio>
#include <ctime>

namespace menura {

namespace {

i64 time_zone_offset_s() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return local.tm_gmtoff;
}

}  // namespace

Result<i64> parse_date(const std::string& text) {
  CalendarTime t;
  int date_end = 0, time_end = 0;
  std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &t.year, &t.month, &t.day, &date_end);
  std::sscanf(text.c_str() + date_end, "T%2d:%2d:%2d%n", &t.hour, &t.minute, &t.second, &time_end);
  const size_t used = static_cast<size_t>(date_end) + static_cast<size_t>(time_end);
  const bool in_range = t.month >= 1 && t.month <= 12 && t.day >= 1 && t.day <= 31 && t.hour >= 0 &&
                        t.hour < 24 && t.minute >= 0 && t.minute < 60 && t.second >= 0 &&
                        t.second < 60;
  // February 30th would come out as another date.
  if (date_end == 0 || used != text.size() || !in_range || calendar_of(seconds_of(t)).day != t.day)
    return fail(Errc::InvalidArgument, "'{}' is not a date like 2026-11-23 or 2026-11-23T12:00:00",
                text);
  return seconds_of(t);
}

Result<Rtc::Config> pc_rtc_config(const RtcOptions& options) {
  Rtc::Config config;
  switch (options.clock) {
    case RtcOptions::Clock::Host: config.clock = RtcClock::Host; break;
    case RtcOptions::Clock::Rt: config.clock = RtcClock::Monotonic; break;
    case RtcOptions::Clock::Vm: config.clock = RtcClock::Virtual; break;
  }
  if (options.driftfix == RtcOptions::DriftFix::Slew) config.lost_ticks = RtcLostTicks::Slew;
  if (options.base == "localtime")
    config.utc_offset_s = time_zone_offset_s();
  else if (options.base != "utc")
    config.date = TRY(parse_date(options.base), "-rtc base");
  return config;
}

}  // namespace menura
