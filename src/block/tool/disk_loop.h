// DiskLoop: what a machine gives its disks, for tools that drive an image as a machine does: an event
// loop, an I/O engine and workers.
//
// Owner: a tool. Threads: main. Example:
//   auto loop = TRY(DiskLoop::create(8));  auto disk = loop->disk(std::move(child), cache);
//   disk->submit({...});  loop->wait_until([&] { return done; });
#pragma once

#include <memory>

#include "block/image_disk.h"

namespace menura {

class DiskLoop {
 public:
  static Result<std::unique_ptr<DiskLoop>> create(unsigned workers);

  // Destroyed before the loop, in with_lock().
  std::unique_ptr<ImageDisk> disk(Child image, ImageDisk::Cache cache);
  // Runs completions until the condition holds.
  void wait_until(const std::function<bool()>& condition);
  // What is done is delivered; nothing is waited for.
  void poll();
  // What devices do under the machine lock.
  template <class Function>
  void with_lock(Function function) {
    const MachineLock::Guard guard(lock_);
    function();
  }

 private:
  DiskLoop() = default;

  LiveTape tape_;
  MachineLock lock_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<WorkerPool> pool_;
  std::unique_ptr<IoEngine> engine_;
};

}  // namespace menura
