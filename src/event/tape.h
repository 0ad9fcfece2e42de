// The Tape: the four doors through which all nondeterminism enters a machine: the host clock,
// completions posted by workers, host input, and randomness. Record and replay are other Tapes.
//
// Owner: event (one per machine). Threads: any. Nothing else in menura reads the host's clock or
// random generator on behalf of a guest. Example: `i64 t = tape.host_clock_ns();`
#pragma once

#include <functional>

#include "base/types.h"

namespace menura {

class Tape {
 public:
  virtual ~Tape() = default;
  // Door 1: CLOCK_MONOTONIC in ns, and CLOCK_REALTIME in ns since 1970 (for the RTC's start value).
  virtual i64 host_clock_ns() = 0;
  virtual i64 wall_clock_ns() = 0;
  // Whether the host clock moves by itself; else nobody need sleep towards a deadline.
  virtual bool clock_runs() const { return true; }
  // Doors 2 and 3: when a finished completion, or input from outside (keys, packets, bytes of a
  // character device), takes effect in the machine. The live Tape delivers at once, in the order
  // of arrival; called in the loop under the machine lock.
  virtual void completion(std::function<void()> deliver) = 0;
  virtual void input(std::function<void()> deliver) = 0;
  // Door 4.
  virtual void random(Bytes out) = 0;
};

// The Tape of an ordinary run.
class LiveTape final : public Tape {
 public:
  i64 host_clock_ns() override;
  i64 wall_clock_ns() override;
  void completion(std::function<void()> deliver) override { deliver(); }
  void input(std::function<void()> deliver) override { deliver(); }
  void random(Bytes out) override;
};

// A Tape whose clock moves only by hand and whose randomness is a fixed sequence: for qtest and
// tests, so that every run is the same.
class ScriptedTape : public Tape {
 public:
  explicit ScriptedTape(u64 seed = 1) : random_state_(seed ? seed : 1) {}
  i64 host_clock_ns() override { return now_ns_; }
  i64 wall_clock_ns() override { return wall_base_ns_ + now_ns_; }
  bool clock_runs() const override { return false; }
  void completion(std::function<void()> deliver) override { deliver(); }
  void input(std::function<void()> deliver) override { deliver(); }
  void random(Bytes out) override;
  void advance(i64 ns) { now_ns_ += ns; }
  void set_wall_clock(i64 ns) { wall_base_ns_ = ns - now_ns_; }

 private:
  i64 now_ns_ = 0;
  i64 wall_base_ns_ = 0;
  u64 random_state_;
};

}  // namespace menura
