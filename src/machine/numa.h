// What -numa comes to: which node each CPU belongs to, and how far nodes are from each other.
//
// Owner: machine. Threads: pure functions. Source: ACPI 6.4 §5.2.16 (SRAT), §5.2.17 (SLIT), §5.2.27 (HMAT).
// Example: `NumaLayout numa = TRY(resolve_numa(config.numa, topology));`
#pragma once

#include <vector>

#include "machine/config.h"

namespace menura {

struct NumaLayout {
  std::vector<u32> cpu_nodes;              // by CPU index; empty: no NUMA
  std::vector<std::vector<u8>> distances;  // empty: not said
  // What -numa hmat-lb and hmat-cache say, checked; nothing without -machine hmat=on.
  bool hmat = false;
  std::vector<std::optional<u32>> initiators;  // by node
  std::vector<NumaSpeed> speeds;
  std::vector<NumaCache> caches;
};

// CPUs that no node names go to node 0. Errors: nodes are not numbered from 0 without gaps, a CPU
// that does not exist or is in two nodes, distances that are incomplete or impossible.
Result<NumaLayout> resolve_numa(const NumaOptions& options, const Topology& topology,
                                bool hmat = false);

// One -numa option.
Result<void> read_numa_option(std::string_view text, NumaOptions& options);

}  // namespace menura
