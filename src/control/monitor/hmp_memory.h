// The human monitor's commands about memory and I/O ports.
//
// Owner: control/monitor. Threads: under the machine lock. One function a row of hmp.cpp.
// Example: `{"i", "/fmt port", "read an I/O port", read_port}`
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> examine_linear(HmpContext& context, HmpWords words);
Result<std::string> examine_physical(HmpContext& context, HmpWords words);
Result<std::string> print_expression(HmpContext& context, HmpWords words);
Result<std::string> read_port(HmpContext& context, HmpWords words);
Result<std::string> write_port(HmpContext& context, HmpWords words);
Result<std::string> gva2gpa(HmpContext& context, HmpWords words);
Result<std::string> gpa2hva(HmpContext& context, HmpWords words);
Result<std::string> save_linear(HmpContext& context, HmpWords words);
Result<std::string> save_physical(HmpContext& context, HmpWords words);
Result<std::string> dump_guest(HmpContext& context, HmpWords words);
Result<std::string> checksum(HmpContext& context, HmpWords words);
std::vector<std::string> complete_register(HmpContext& context);

}  // namespace menura::hmp
