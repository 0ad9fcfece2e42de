// SignalWatch: signals of the process as callbacks of the loop, through signalfd(2).
//
// Owner: the program. Threads: on the main thread; all others call leave_signals_to_main_thread()
// first. The callback runs under the machine lock.
// Example: `auto watch = TRY(SignalWatch::create(loop, {SIGINT, SIGTERM}, [&](int) { quit(); }));`
#pragma once

#include <signal.h>

#include <functional>
#include <initializer_list>
#include <memory>

#include "event/event_loop.h"

namespace menura {

// Blocks SIGINT, SIGTERM and SIGHUP for the calling thread.
void leave_signals_to_main_thread();

class SignalWatch {
 public:
  // callback gets the signal's number. Until the end the signals do nothing else.
  static Result<std::unique_ptr<SignalWatch>> create(EventLoop& loop,
                                                     std::initializer_list<int> signals,
                                                     std::function<void(int)> callback);
  // Restores the calling thread's mask.
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  explicit SignalWatch(std::function<void(int)> callback) : callback_(std::move(callback)) {}
  void read_signals();

  // Wiring
  std::function<void(int)> callback_;
  sigset_t mask_before_{};
  UniqueFd fd_;
  Watch watch_;
};

}  // namespace menura
