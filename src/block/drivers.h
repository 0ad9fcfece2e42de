// The table of everything an image can be. What exists is readable in drivers.cpp.
//
// Owner: block. Threads: constant. Example: `Graph graph(all_drivers(), secrets);`
#pragma once

#include <span>

#include "block/core/driver.h"

namespace menura {

std::span<const Driver* const> all_drivers();

}  // namespace menura
