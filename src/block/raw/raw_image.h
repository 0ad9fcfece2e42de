// "raw": an image that is its file, or a window of it: options offset and size.
//
// Owner: block/raw. Threads: as Image. Example: `{"driver": "raw", "offset": 1048576, "file": {…}}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kRawDriver;

}  // namespace menura
