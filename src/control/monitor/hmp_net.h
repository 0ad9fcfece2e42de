// The monitor's commands about the network, for people.
//
// Owner: control/monitor. Threads: under the machine lock. Example: see hmp.cpp's table.
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> add_netdev(HmpContext& context, HmpWords words);
Result<std::string> remove_netdev(HmpContext& context, HmpWords words);
Result<std::string> change_link(HmpContext& context, HmpWords words);
Result<std::string> add_hostfwd(HmpContext& context, HmpWords words);
Result<std::string> remove_hostfwd(HmpContext& context, HmpWords words);
Result<std::string> info_network(HmpContext& context, HmpWords words);
Result<std::string> info_usernet(HmpContext& context, HmpWords words);

std::vector<std::string> complete_netdev(HmpContext& context);
std::vector<std::string> complete_link(HmpContext& context);

}  // namespace menura::hmp
