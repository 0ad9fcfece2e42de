// "luks": an encrypted disk, LUKS version 1.
//
// Owner: block/luks. Threads: as Image. Spec: "LUKS On-Disk Format Specification 1.2.3".
// Example: `{"driver": "luks", "key-secret": "sec0", "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kLuksDriver;

}  // namespace menura
