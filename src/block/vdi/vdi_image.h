// "vdi": VirtualBox's disk image.
//
// Owner: block/vdi. Threads: as Image. Spec: "All about VDIs", VirtualBox's forum, topic 8046.
// Example: `{"driver": "vdi", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kVdiDriver;

}  // namespace menura
