// "null-co", "null-aio": disks without content, for measuring everything above them.
//
// Owner: block/file. Threads: as Image. Example: `{"driver": "null-co", "read-zeroes": true}`
#pragma once

#include "block/core/driver.h"

namespace menura {

extern const Driver kNullCoDriver;
extern const Driver kNullAioDriver;

}  // namespace menura
