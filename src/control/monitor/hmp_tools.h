// The human monitor's commands about logs, traces, objects, character devices and debuggers.
//
// Owner: control/monitor. Threads: under the machine lock. One function a row of hmp.cpp.
// Example: `{"log", "item[,item...]|none", "log these", log_these}`
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> log_these(HmpContext& context, HmpWords words);
Result<std::string> trace_these(HmpContext& context, HmpWords words);
Result<std::string> serve_gdb(HmpContext& context, HmpWords words);
Result<std::string> list_object(HmpContext& context, HmpWords words);
Result<std::string> get_property(HmpContext& context, HmpWords words);
Result<std::string> add_object(HmpContext& context, HmpWords words);
Result<std::string> remove_object(HmpContext& context, HmpWords words);
Result<std::string> add_chardev(HmpContext& context, HmpWords words);
Result<std::string> change_chardev(HmpContext& context, HmpWords words);
Result<std::string> remove_chardev(HmpContext& context, HmpWords words);
Result<std::string> name_descriptor(HmpContext& context, HmpWords words);
Result<std::string> close_descriptor(HmpContext& context, HmpWords words);
Result<std::string> read_ring(HmpContext& context, HmpWords words);
Result<std::string> write_ring(HmpContext& context, HmpWords words);

std::vector<std::string> complete_log_item(HmpContext& context);
std::vector<std::string> complete_trace_event(HmpContext& context);
std::vector<std::string> complete_chardev(HmpContext& context);
std::vector<std::string> complete_object(HmpContext& context);

}  // namespace menura::hmp
