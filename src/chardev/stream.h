// StreamChardev: what all chardevs over file descriptors share: flow control of both directions.
//
// Owner: the room; the kinds derive from it. Threads: as Chardev. Descriptors are non-blocking
// (chardev/nonblocking.h). Input passes the Tape's door for host input.
// Example: see chardev/pty.cpp.
#pragma once

#include <sys/types.h>

#include <string>

#include "event/event_loop.h"
#include "io/chardev.h"

namespace menura {

class StreamChardev : public Chardev {
 public:
  StreamChardev(EventLoop& loop, std::string id) : loop_(loop), id_(std::move(id)) {}

  size_t write(ConstBytes bytes) final;
  void attach(CharSink* sink) final;
  void accept_input() final;

 protected:
  // Starts to move bytes. The descriptors stay the caller's, open until stop(); they may be the
  // same, and -1 is none.
  Result<void> start(int in, int out);
  void stop();
  // Ends one direction; of a shared descriptor, both.
  void stop_input();
  void stop_output();
  // For destructors: stop(), without a word to the sink.
  void shut();
  bool started() const { return in_ >= 0 || out_ >= 0; }
  // Called in the loop when the input has come to its end; on a shared descriptor, when the peer
  // is gone.
  virtual void ended() = 0;
  // As read(2).
  virtual ssize_t read_from(int in, Bytes to);
  void tell(CharEvent event) {
    if (sink_) sink_->event(event);
  }
  EventLoop& loop() { return loop_; }
  const std::string& id() const { return id_; }

 private:
  bool reading() const { return in_ >= 0 && sink_ && !sink_full_; }
  void update_interest();
  void on_input(FdEvents events);
  void on_output(FdEvents events);
  void read_input();
  void end_wait();
  void report_loss(int os_errno, size_t size);

  // Wiring
  EventLoop& loop_;
  const std::string id_;
  CharSink* sink_ = nullptr;
  int in_ = -1;
  int out_ = -1;
  Watch in_watch_;  // of both directions when they share a descriptor
  Watch out_watch_;
  // State
  bool sink_full_ = false;     // until accept_input()
  bool output_waits_ = false;  // a write() was not taken whole
  u64 lost_ = 0;               // bytes refused by the host (a full disk)
};

}  // namespace menura
