// MachineLock: the one lock of a machine. It guards every Device method; it is taken by the
// dispatch of port and memory-mapped I/O and by the loop around callbacks, and nowhere else.
//
// Owner: event. Threads: any; not recursive. Clang's thread-safety analysis checks its users in the
// lint build. Example: `MachineLock::Guard guard(lock); device.write(access, value);`
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#if defined(__clang__)
#define MENURA_CAPABILITY(name)  __attribute__((capability(name)))
#define MENURA_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define MENURA_GUARDED_BY(lock)  __attribute__((guarded_by(lock)))
#define MENURA_REQUIRES(lock)    __attribute__((requires_capability(lock)))
#define MENURA_ACQUIRE(...)      __attribute__((acquire_capability(__VA_ARGS__)))
#define MENURA_RELEASE(...)      __attribute__((release_capability(__VA_ARGS__)))
#define MENURA_NO_LOCK_ANALYSIS  __attribute__((no_thread_safety_analysis))
#else
#define MENURA_CAPABILITY(name)
#define MENURA_SCOPED_CAPABILITY
#define MENURA_GUARDED_BY(lock)
#define MENURA_REQUIRES(lock)
#define MENURA_ACQUIRE(...)
#define MENURA_RELEASE(...)
#define MENURA_NO_LOCK_ANALYSIS
#endif

namespace menura {

class MENURA_CAPABILITY("machine lock") MachineLock {
 public:
  void lock() MENURA_ACQUIRE() {
    mutex_.lock();
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  void unlock() MENURA_RELEASE() {
    owner_.store(std::thread::id{}, std::memory_order_relaxed);
    mutex_.unlock();
  }
  // Whether the calling thread holds it: for ensure() at entry points.
  bool held() const { return owner_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

  class MENURA_SCOPED_CAPABILITY Guard {
   public:
    explicit Guard(MachineLock& lock) MENURA_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
    ~Guard() MENURA_RELEASE() { lock_.unlock(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    MachineLock& lock_;
  };

  // Lets go of the lock while it lives, if the calling thread holds it: around waits for threads
  // that may need it. What the lock guards may have changed afterwards.
  class Yield {
   public:
    explicit Yield(MachineLock& lock) MENURA_NO_LOCK_ANALYSIS : lock_(lock), held_(lock.held()) {
      if (held_) lock_.unlock();
    }
    ~Yield() MENURA_NO_LOCK_ANALYSIS {
      if (held_) lock_.lock();
    }
    Yield(const Yield&) = delete;
    Yield& operator=(const Yield&) = delete;

   private:
    MachineLock& lock_;
    const bool held_;
  };

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

}  // namespace menura
