// The makers of the two IoEngines, inside this room; everybody else calls IoEngine::create().
//
// Owner: event. Threads: as IoEngine. Example: `auto engine = TRY(make_uring_engine(loop));`
#pragma once

#include <memory>

#include "event/io_engine.h"

namespace menura {

// Errc::Unsupported or Errc::Permission where the host has no io_uring for us.
Result<std::unique_ptr<IoEngine>> make_uring_engine(EventLoop& loop);
std::unique_ptr<IoEngine> make_worker_engine(EventLoop& loop, WorkerPool& pool);

}  // namespace menura
