#include "event/worker_pool.h"

#include <pthread.h>

#include <system_error>

#include "base/check.h"
#include "base/format.h"
#include "event/signals.h"

namespace menura {

WorkerPool::WorkerPool(EventLoop& loop, unsigned max_threads, std::string name)
    : max_threads_(max_threads), name_(std::move(name)), loop_(loop) {
  ensure(max_threads > 0, "a pool has threads");
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard guard(mutex_);
    closing_ = true;
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

unsigned WorkerPool::threads() const {
  const std::lock_guard guard(mutex_);
  return static_cast<unsigned>(threads_.size());
}

void WorkerPool::submit(std::function<void()> work, std::function<void()> done) {
  std::unique_lock guard(mutex_);
  // Queued jobs will take that many idle threads before this one.
  const bool short_of_threads = idle_ <= queue_.size() && threads_.size() < max_threads_;
  if (short_of_threads && !start_thread() && threads_.empty()) {
    // The host refuses even one thread: slow, but the work gets done.
    guard.unlock();
    return run({std::move(work), std::move(done)});
  }
  queue_.push_back({std::move(work), std::move(done)});
  guard.unlock();
  wanted_.notify_one();
}

bool WorkerPool::start_thread() {
  const std::string name = format("{} {}", name_, threads_.size()).substr(0, 15);
  try {
    threads_.emplace_back([this, name] {
      leave_signals_to_main_thread();
      ::pthread_setname_np(::pthread_self(), name.c_str());
      run_jobs();
    });
  } catch (const std::system_error&) {  // EAGAIN: the limit of threads or of memory
    return false;
  }
  return true;
}

void WorkerPool::run_jobs() {
  std::unique_lock guard(mutex_);
  for (;;) {
    idle_++;
    wanted_.wait(guard, [this] { return closing_ || !queue_.empty(); });
    idle_--;
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    guard.unlock();
    run(std::move(job));
    guard.lock();
  }
}

void WorkerPool::run(Job job) {
  job.work();
  job.work = nullptr;
  if (job.done) loop_.complete(std::move(job.done));
}

}  // namespace menura
