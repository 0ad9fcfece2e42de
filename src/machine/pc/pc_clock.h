// What -rtc comes to for the PC's clock chip.
//
// Owner: machine/pc. Threads: pure, but for the host's time zone. Example:
//   Rtc::Config config = TRY(pc_rtc_config({.base = "2026-11-23T12:00:00"}));
#pragma once

#include "hw/rtc/rtc.h"
#include "machine/config.h"

namespace menura {

Result<Rtc::Config> pc_rtc_config(const RtcOptions& options);

// "2026-11-23" or "2026-11-23T12:00:00", as seconds since 1970 (UTC).
Result<i64> parse_date(const std::string& text);

}  // namespace menura
