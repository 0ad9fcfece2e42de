// "parallels": Parallels' expandable disk image.
//
// Owner: block/parallels. Threads: as Image. Spec: QEMU's docs/interop/parallels.txt.
// Example: `{"driver": "parallels", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kParallelsDriver;

}  // namespace menura
