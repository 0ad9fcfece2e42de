// list(): what a server exports, on standard output, laid out as qemu-nbd --list does.
//
// Owner: app/nbd. Threads: main; blocks. Example: `TRY(list(session, options));`
#pragma once

#include "app/nbd/options.h"

namespace menura::nbd {

Result<void> list(ImageSession& session, const Options& options);

}  // namespace menura::nbd
