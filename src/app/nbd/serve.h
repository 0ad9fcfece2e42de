// serve(): opens the image, exports it, and waits for the end.
//
// Owner: app/nbd. Threads: main; blocks. Example: `return serve(options, background);`
#pragma once

#include "app/nbd/background.h"
#include "app/nbd/options.h"

namespace menura::nbd {

// A socket that whoever started us has made (sd_listen_fds(3)): LISTEN_PID, LISTEN_FDS, descriptor 3.
// Ask before forking.
Result<UniqueFd> inherited_socket();

// Until a signal, or the last client has left.
Result<void> serve(ImageSession& session, const Options& options, UniqueFd inherited,
                   Background& background);

}  // namespace menura::nbd
