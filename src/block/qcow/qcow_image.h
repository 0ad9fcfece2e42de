// "qcow": QEMU's first copy-on-write format.
//
// Owner: block/qcow. Threads: as Image. Spec: "The QCOW Image Format", M. McLoughlin, 2006.
// Example: `{"driver": "qcow", "file": {…}, "backing": null}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kQcowDriver;

}  // namespace menura
