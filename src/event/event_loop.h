// EventLoop: the machine's main loop: file descriptors, timers of both clocks, and functions posted
// by other threads, all run one after the other, each under the machine lock.
//
// Owner: the program (one per machine; it must outlive the devices and host back ends). Threads:
// run() on one thread; post(), complete() and quit() on any; the rest under the machine lock or
// before the machine's threads start. Callbacks must not block. See epoll(7).
// Example:
//   auto loop = TRY(EventLoop::create(tape, lock));
//   Watch watch = TRY(loop->watch(fd, {.readable = true}, [&](FdEvents) { on_input(); }));
//   int status = loop->run();
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "event/clock.h"
#include "event/machine_lock.h"
#include "event/tape.h"
#include "event/timer.h"

namespace menura {

class EventLoop;

// What a descriptor is watched for, and what happened to it.
struct FdEvents {
  bool readable = false;
  bool writable = false;
  bool hangup = false;  // reported, never asked for: the peer is gone, or an error is pending

  bool operator==(const FdEvents&) const = default;
};

// A descriptor under watch, until destroyed or reset; both are allowed inside its own callback.
class Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Watch& operator=(Watch&& other) noexcept;
  ~Watch() { reset(); }

  explicit operator bool() const { return entry_ != nullptr; }
  // Changes the interest. Without any, nothing is reported, not even a hang-up.
  void set(FdEvents interest);
  // Ends the watch. The descriptor must still be open.
  void reset();

 private:
  friend class EventLoop;
  struct Entry;
  explicit Watch(Entry* entry) : entry_(entry) {}
  Entry* entry_ = nullptr;
};

class EventLoop {
 public:
  using Function = std::function<void()>;
  using WatchFunction = std::function<void(FdEvents)>;

  static Result<std::unique_ptr<EventLoop>> create(Tape& tape, MachineLock& lock);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  Tape& tape() { return tape_; }
  MachineLock& lock() { return lock_; }
  // Guest time: its timers run only while its clock runs.
  VirtualClock& virtual_clock() { return virtual_clock_; }
  TimerQueue& virtual_time() { return virtual_time_; }
  // The host's time.
  TimerQueue& host_time() { return host_time_; }

  // Runs fn in the loop, under the machine lock, in the order of posting.
  void post(Function fn);
  // The same for the result of work done elsewhere: it enters through the Tape's door, and
  // complete_until() sees it.
  void complete(Function fn);
  // Delivers completions, and nothing else, until the condition holds. For draining inside a
  // device method: on any thread that holds the machine lock.
  void complete_until(const std::function<bool()>& condition);

  // Regular files are always ready, as in poll(2). A descriptor has one watch (Errc::Exists).
  Result<Watch> watch(int fd, FdEvents interest, WatchFunction callback);
  // A watch whose callback delivers completions (through tape().completion): complete_until()
  // serves it too. Not for regular files.
  Result<Watch> watch_completions(int fd, WatchFunction callback);

  // Runs until quit(), then returns its code.
  int run();
  // One round: waits at most timeout_ns (negative: as long as it takes) and runs what is ready.
  // True when anything ran.
  bool run_once(i64 timeout_ns);
  // Makes run() return after the present callback; a call before run() is kept for it.
  void quit(int code);

 private:
  friend class Watch;
  EventLoop(Tape& tape, MachineLock& lock);
  Result<void> open();
  Result<Watch> add_watch(int epoll, int fd, FdEvents interest, WatchFunction callback);
  i64 time_to_wait(i64 timeout_ns);
  void wake();
  bool run_timers();
  bool run_posted();
  bool run_always_ready();
  bool deliver_completion();
  bool serve_completions();
  bool dispatch(u64 id, u32 epoll_events);
  void remove(Watch::Entry* entry);

  // Wiring
  Tape& tape_;
  MachineLock& lock_;
  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd completion_epoll_;  // sits inside epoll_, and alone in complete_until()
  UniqueFd completion_wake_;   // readable while completions_ is not empty

  // State
  VirtualClock virtual_clock_;
  HostClock host_clock_;
  TimerQueue virtual_time_;
  TimerQueue host_time_;
  std::unordered_map<u64, std::unique_ptr<Watch::Entry>> watches_;
  std::vector<u64> always_ready_;  // watches of regular files
  u64 next_id_;
  std::atomic<std::thread::id> thread_{};
  std::atomic<bool> sleeping_{false};  // somebody has to write to wake_
  std::atomic<bool> quit_{false};
  std::atomic<int> quit_code_{0};
  std::mutex queue_mutex_;  // guards the two queues; taken last
  std::deque<Function> posted_;
  std::deque<Function> completions_;
};

}  // namespace menura
