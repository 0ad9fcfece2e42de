#include "event/io_engine.h"

#include "base/log.h"
#include "event/engines.h"

namespace menura {

Result<std::unique_ptr<IoEngine>> IoEngine::create(EventLoop& loop, WorkerPool& pool,
                                                   IoEngineKind kind) {
  if (kind == IoEngineKind::Workers) return make_worker_engine(loop, pool);
  Result<std::unique_ptr<IoEngine>> uring = make_uring_engine(loop);
  if (uring || kind == IoEngineKind::Uring) return uring;
  log_debug("{}; files are read and written by worker threads", uring.error().text);
  return make_worker_engine(loop, pool);
}

}  // namespace menura
