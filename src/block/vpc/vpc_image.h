// "vpc": Virtual PC's disk image (VHD), fixed or dynamic.
//
// Owner: block/vpc. Threads: as Image. Spec: Microsoft's "Virtual Hard Disk Image Format
// Specification". Example: `{"driver": "vpc", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kVpcDriver;

}  // namespace menura
