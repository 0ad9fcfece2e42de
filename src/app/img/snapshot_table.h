// The table that `snapshot -l` and `info` print.
//
// Owner: app/img. Threads: pure. Example: `std::fputs(snapshot_table(store->list()).c_str(), stdout);`
#pragma once

#include <string>
#include <vector>

#include "block/core/stores.h"

namespace menura::img {

std::string snapshot_table(const std::vector<SnapshotInfo>& snapshots);

}  // namespace menura::img
