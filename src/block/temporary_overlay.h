// What snapshot=on and `menura-nbd --snapshot` do: writes go to a file that is gone afterwards.
//
// Owner: block. Threads: as Graph::open(). Errors name the overlay's path.
// Example: `node = TRY(open_temporary_overlay(std::move(node)));`
#pragma once

#include "block/core/node.h"

namespace menura {

// A qcow2 image above it, in a nameless file in $TMPDIR, else /var/tmp.
Result<NodePtr> open_temporary_overlay(NodePtr image);

}  // namespace menura
