// RamMapping: gets the host memory behind a RamBlock: its file descriptor and its place in our
// address space.
//
// Owner: memory (used by ram.cpp only). Threads: none. Host kernel interfaces: memfd_create(2),
// mbind(2), madvise(2) MADV_POPULATE_WRITE. Example: `RamMapping m = TRY(map_ram(config));`
#pragma once

#include "base/fd.h"
#include "memory/ram.h"

namespace menura {

struct RamMapping {
  UniqueFd fd;
  std::byte* host = nullptr;
  u64 size = 0;  // bytes; a multiple of the backing's page size
};

// Errors name the block, the path where there is one, the host's reason, and what helps.
Result<RamMapping> map_ram(const RamConfig& config);
void unmap_ram(std::byte* host, u64 size);

}  // namespace menura
