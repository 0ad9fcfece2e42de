// Filters: drivers that pass requests on to the node below, and do something about them meanwhile.
//
// Owner: static rows. Threads: as Image. Names and options are QEMU's.
// Example: `{"driver": "throttle", "throttle-group": "g0", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kThrottleDriver;     // requests wait for their turn
extern const Driver kCopyOnReadDriver;   // what is read from below stays above
extern const Driver kBlkdebugDriver;     // errors and stops where a test wants them
extern const Driver kBlkverifyDriver;    // two images must say the same
extern const Driver kPreallocateDriver;  // files grow in large steps

}  // namespace menura
