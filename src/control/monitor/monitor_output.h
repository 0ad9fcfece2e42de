// MonitorOutput: what a monitor sends: kept while its character device is busy.
//
// Owner: a monitor. Threads: as Chardev. What is unsent when the monitor goes is still said to a
// client that reads: the answers to commands before a "quit" are not lost.
// Example: `output.send("hello\r\n");`
#pragma once

#include <string>
#include <string_view>

#include "io/chardev.h"

namespace menura {

class MonitorOutput {
 public:
  explicit MonitorOutput(Chardev& chardev) : chardev_(chardev) {}
  ~MonitorOutput() { finish(); }
  MonitorOutput(const MonitorOutput&) = delete;
  MonitorOutput& operator=(const MonitorOutput&) = delete;

  // A client that commands without reading the answers is not read any more beyond this.
  static constexpr size_t kMaxUnsent = size_t{1} << 20;
  // Nobody waits for events: past this they are lost.
  static constexpr size_t kMaxUnsentForEvents = 4 * kMaxUnsent;

  void send(std::string_view text) {
    unsent_ += text;
    flush();
  }
  void flush() {
    while (!unsent_.empty()) {
      const size_t taken = chardev_.write(std::as_bytes(std::span(unsent_)));
      if (taken == 0) return;
      unsent_.erase(0, taken);
    }
  }
  void forget() { unsent_.clear(); }
  bool full() const { return unsent_.size() > kMaxUnsent; }
  bool full_for_events() const { return unsent_.size() > kMaxUnsentForEvents; }

 private:
  void finish();

  // Wiring
  Chardev& chardev_;
  // State
  std::string unsent_;
};

}  // namespace menura
