#include "block/tool/disk_loop.h"

namespace menura {

Result<std::unique_ptr<DiskLoop>> DiskLoop::create(unsigned workers) {
  std::unique_ptr<DiskLoop> loop(new DiskLoop);
  loop->loop_ = TRY(EventLoop::create(loop->tape_, loop->lock_));
  loop->pool_ = std::make_unique<WorkerPool>(*loop->loop_, workers);
  loop->engine_ = TRY(IoEngine::create(*loop->loop_, *loop->pool_));
  return loop;
}

std::unique_ptr<ImageDisk> DiskLoop::disk(Child image, ImageDisk::Cache cache) {
  return std::make_unique<ImageDisk>(ImageDisk::Wiring{*loop_, *engine_, *pool_}, std::move(image),
                                     cache);
}

void DiskLoop::wait_until(const std::function<bool()>& condition) {
  // With timers: a throttled request waits for one.
  while (!condition()) loop_->run_once(-1);
}

void DiskLoop::poll() {
  while (loop_->run_once(0)) {}
}

}  // namespace menura
