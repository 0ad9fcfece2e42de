// "qed": QEMU's Enhanced Disk format.
//
// Owner: block/qed. Threads: as Image. Spec: QEMU's docs/interop/qed_spec.txt.
// Example: `{"driver": "qed", "file": {…}, "backing": null}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kQedDriver;

}  // namespace menura
