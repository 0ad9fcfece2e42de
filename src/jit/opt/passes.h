// The optimisation passes over a block, each a free function that can be switched off.
//
// Owner: jit/opt. Threads: none shared. Example: `run_passes(block, PassSet::all());`
#pragma once

#include "jit/ir/block.h"

namespace menura::opt {

// Which passes run: --jit-opt.
struct PassSet {
  bool flags = true;
};

// Backward liveness of the status flags into Op::flags_live. Without the pass all are live
// everywhere, and every check saves and restores them.
void flags_liveness(ir::Block& block, bool enabled);
// Puts the poll for interrupts where it costs least: only blocks that may close a loop (they end
// with a backward or indirect transfer) need one, at an instruction before which no flag is live.
void place_poll(ir::Block& block);

void run_passes(ir::Block& block, const PassSet& passes);

}  // namespace menura::opt
