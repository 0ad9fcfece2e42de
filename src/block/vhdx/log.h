// VHDX's log: pages of metadata that reach their places by way of it, so that a crash cannot tear
// them.
//
// Owner: a VHDX image. Threads: one at a time. Spec: [MS-VHDX] 2.3 "Log".
// Example: `TRY(replay_log(*file, header));  TRY(write_log(*file, header, sequence++, pages));`
#pragma once

#include <map>

#include "block/vhdx/vhdx_format.h"

namespace menura::vhdx {

inline constexpr u64 kPage = 4096;
using Pages = std::map<u64, std::vector<std::byte>>;  // by offset, both multiples of kPage

// How many pages one entry may have.
u64 log_capacity(const Header& header);
// One entry at the log's beginning, durable.
Result<void> write_log(Node& file, const Header& header, u64 sequence, const Pages& pages);
// Applies what is there to the file; whether there was anything. Durable.
Result<bool> replay_log(Node& file, const Header& header);
// Whether there is anything to apply.
Result<bool> has_log(Node& file, const Header& header);

}  // namespace menura::vhdx
