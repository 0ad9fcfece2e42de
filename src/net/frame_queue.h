// FrameQueue: frames for a sink that is not ready for them, inside this room.
//
// Owner: its back end. Threads: as NetBackend. Bounded: what does not fit is lost, as on a wire.
// Example: `queue_.push(frame);  queue_.deliver(tape, sink_);`
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "event/tape.h"
#include "io/net_backend.h"

namespace menura {

class FrameQueue {
 public:
  static constexpr size_t kFrames = 1024;

  bool empty() const { return frames_.empty(); }
  size_t size() const { return frames_.size(); }
  bool full() const { return frames_.size() >= kFrames; }
  void clear() { frames_.clear(); }
  // False: full, and the frame is lost.
  bool push(ConstBytes frame) {
    if (full()) return false;
    frames_.emplace_back(frame.begin(), frame.end());
    return true;
  }
  // The oldest; not empty.
  ConstBytes front() const { return frames_.front(); }
  std::vector<std::byte> pop() {
    std::vector<std::byte> frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }
  // As many as the sink is ready for. By reference, because a sink may detach itself.
  void deliver(Tape& tape, NetSink* const& sink) {
    if (std::exchange(delivering_, true)) return;  // the loop below goes on by itself
    while (!empty() && sink && sink->ready())
      tape.input([&sink, frame = pop()] {
        if (sink) sink->receive({.frame = frame});
      });
    delivering_ = false;
  }

 private:
  std::deque<std::vector<std::byte>> frames_;
  bool delivering_ = false;
};

}  // namespace menura
