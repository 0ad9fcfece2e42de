// Where a command's data lies in guest memory: physical region pages (PRP) or scatter-gather lists.
//
// Owner: Nvme. Threads: under the machine lock. Source: NVM Express Base 1.4 §4.3 and §4.4. Lists are
// copied before they are looked at, and no walk is longer than the transfer has pages, or than
// kMostDescriptors. Example:
//   NvmeRegions regions;   if (u16 status = find_regions(read, command, 4096, length, regions)) ...
#pragma once

#include <functional>
#include <vector>

#include "hw/nvme/nvme_spec.h"
#include "memory/address_space.h"

namespace menura {

struct NvmeRegion {
  u64 address = 0;
  u64 size = 0;
};
using NvmeRegions = std::vector<NvmeRegion>;
using NvmeDmaRead = std::function<AccessStatus(GuestAddr, Bytes)>;

// Fills regions with exactly `length` bytes. The status of a command that cannot be done that way.
nvme::Status find_regions(const NvmeDmaRead& read, const NvmeCommand& command, u64 page_size,
                          u64 length, NvmeRegions& regions);

}  // namespace menura
