// The commands of qtest that are done within their request: ports, memory, clock, driving pins.
//
// Owner: accel/dummy (used by QtestServer). Threads: under the machine lock.
// Example: `std::string reply = run_qtest_command(target, {{"inb", "0x71"}});`
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "accel/dummy/qtest_target.h"

namespace menura {

// The reply line; words is not empty. An unknown command is a FAIL.
std::string run_qtest_command(QtestTarget& target, std::span<const std::string_view> words);

}  // namespace menura
