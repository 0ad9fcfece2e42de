// Random bytes of the host, for keys and identities in files. Machines take theirs from the Tape.
//
// Owner: base. Threads: any. Example: `std::array<std::byte, 16> uuid;  fill_random(uuid);`
#pragma once

#include "base/types.h"

namespace menura {

void fill_random(Bytes out);

}  // namespace menura
