// WorkerPool: threads for blocking work (image formats, compression), started when work comes.
//
// Owner: the program; dies before its loop. Threads: submit() on any. Work runs on a worker without
// the machine lock; done comes back through EventLoop::complete, under the lock.
// Example: `pool.submit([&] { result = image.read(at, buffer); }, [&] { finish(result); });`
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "event/event_loop.h"

namespace menura {

class WorkerPool {
 public:
  // At most max_threads (at least 1), called "name 0", "name 1" ... as far as the kernel's 15
  // characters go.
  WorkerPool(EventLoop& loop, unsigned max_threads, std::string name = "worker");
  // Finishes all submitted work; the done functions are left to the loop.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // done may be empty.
  void submit(std::function<void()> work, std::function<void()> done = {});
  // Threads started so far.
  unsigned threads() const;

 private:
  struct Job {
    std::function<void()> work;
    std::function<void()> done;
  };
  bool start_thread();
  void run_jobs();
  void run(Job job);

  // Configuration
  const unsigned max_threads_;
  const std::string name_;
  // Wiring
  EventLoop& loop_;
  // State
  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<Job> queue_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  bool closing_ = false;
};

}  // namespace menura
