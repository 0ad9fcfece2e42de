// The human monitor's commands about images and block jobs.
//
// Owner: control/monitor. Threads: under the machine lock. One function a row of hmp.cpp.
// Example: `{"block_stream", "device [speed [base]]", "…", block_stream}`
#pragma once

#include "control/monitor/hmp.h"

namespace menura::hmp {

Result<std::string> resize_block(HmpContext& context, HmpWords words);
Result<std::string> stream_block(HmpContext& context, HmpWords words);
Result<std::string> set_job_speed(HmpContext& context, HmpWords words);
Result<std::string> cancel_job(HmpContext& context, HmpWords words);
Result<std::string> pause_job(HmpContext& context, HmpWords words);
Result<std::string> resume_job(HmpContext& context, HmpWords words);
Result<std::string> complete_job(HmpContext& context, HmpWords words);
Result<std::string> mirror_drive(HmpContext& context, HmpWords words);
Result<std::string> backup_drive(HmpContext& context, HmpWords words);
Result<std::string> snapshot_drive(HmpContext& context, HmpWords words);
Result<std::string> info_block_jobs(HmpContext& context, HmpWords words);

std::vector<std::string> complete_drive(HmpContext& context);
std::vector<std::string> complete_job_name(HmpContext& context);

}  // namespace menura::hmp
