// Sizes, times and rates as qemu-io prints them: scripts read these lines.
//
// Owner: app/io. Threads: pure functions. Example: `size_text(3080192)` is "2.938 MiB".
#pragma once

#include <chrono>
#include <string>

#include "base/types.h"

namespace menura::io {

std::string size_text(double bytes);

// "64 KiB, 1 ops; 00.00 sec (…)", or "65536,1,0:00:00.00,…" for machines.
enum class ReportForm : u8 { Human, Machine };
std::string report_text(u64 bytes, u64 operations, std::chrono::duration<double> took,
                        ReportForm form);

// "00000000:  cd cd …  ....": sixteen bytes a line.
std::string dump_text(ConstBytes bytes, u64 offset);

}  // namespace menura::io
