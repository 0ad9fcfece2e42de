// RingChardev: keeps the newest output in memory; older bytes fall out, and are counted. The
// monitor's ringbuf-read and ringbuf-write are its other end.
//
// Owner: the machine, as a Chardev. Threads: as Chardev. Example: `std::string text = ring.read(80);`
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "base/result.h"
#include "chardev/waiting_input.h"
#include "event/tape.h"
#include "io/chardev.h"

namespace menura {

class RingChardev final : public Chardev {
 public:
  // size: bytes, a power of two up to 1 GiB.
  static Result<std::unique_ptr<RingChardev>> create(Tape& tape, u64 size);

  size_t write(ConstBytes bytes) override;
  void attach(CharSink* sink) override;
  void accept_input() override { input_.deliver(sink_); }
  std::string where() const override { return "ringbuf"; }

  // Takes at most max of the oldest bytes out.
  std::string read(size_t max);
  // Input for the sink, which gets it as it has room.
  void feed(ConstBytes bytes);
  // Output bytes that fell out unread.
  u64 lost() const { return lost_; }

 private:
  RingChardev(Tape& tape, u64 size) : size_(size), tape_(tape) {}

  // Configuration
  const u64 size_;
  // Wiring
  Tape& tape_;
  CharSink* sink_ = nullptr;
  // State
  std::deque<std::byte> output_;
  WaitingInput input_;
  u64 lost_ = 0;
};

}  // namespace menura
