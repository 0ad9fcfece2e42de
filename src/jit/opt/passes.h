// The optimisation passes over a block, each a free function that can be switched off.
//
// Owner: jit/opt. Threads: none shared. Example: `run_passes(block, PassSet::all());`
#pragma once

#include <string_view>

#include "base/result.h"
#include "jit/ir/block.h"

namespace menura::opt {

// Which passes run: -accel jit,opt=.
struct PassSet {
  bool flags = true;
  bool pointers = true;  // one check serves accesses that lie near one another
};

// "", "-flags", "-flags:-other", "-all", "-all:+flags". An unknown pass is an Error that names the
// nearest.
Result<PassSet> parse_passes(std::string_view text);

// Backward liveness of the status flags into Op::flags_live; what follows the block wants
// Block::flags_wanted. Without the pass all are live everywhere, and every check saves and restores
// them.
void flags_liveness(ir::Block& block, bool enabled);
// Puts the poll for interrupts where it costs least: only blocks that may close a loop (they end
// with a backward or indirect transfer) need one, at an instruction before which no flag is live.
void place_poll(ir::Block& block);

void run_passes(ir::Block& block, const PassSet& passes);

}  // namespace menura::opt
