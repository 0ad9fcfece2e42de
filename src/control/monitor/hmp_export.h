// The monitor's commands about the NBD server, for people.
//
// Owner: control/monitor. Threads: under the machine lock. Example: see hmp.cpp's table.
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> start_nbd(HmpContext& context, HmpWords words);
Result<std::string> add_nbd(HmpContext& context, HmpWords words);
Result<std::string> remove_nbd(HmpContext& context, HmpWords words);
Result<std::string> stop_nbd(HmpContext& context, HmpWords words);

std::vector<std::string> complete_node(HmpContext& context);

}  // namespace menura::hmp
