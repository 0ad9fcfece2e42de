// "dmg": Apple's disk image (UDIF), read-only.
//
// Owner: block/dmg. Threads: as Image. Spec: "Demystifying the DMG File Format", J. Levin, 2013.
// Example: `{"driver": "dmg", "read-only": true, "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kDmgDriver;

}  // namespace menura
