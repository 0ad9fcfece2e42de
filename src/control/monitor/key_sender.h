// KeySender: keys that a monitor types for the user: pressed together, released after a while.
//
// Owner: MonitorTarget. Threads: under the machine lock.
// Example: `TRY(keys.send({Key::Ctrl, Key::Alt, Key::Delete}, 100));`
#pragma once

#include <vector>

#include "event/timer.h"
#include "io/keys.h"
#include "machine/machine.h"

namespace menura {

class KeySender {
 public:
  explicit KeySender(Machine& machine);

  static constexpr u32 kHoldMs = 100;
  // Pressed in this order and released in the opposite one. Keys still held go up before.
  Result<void> send(std::vector<Key> keys, u32 hold_ms);

 private:
  void release();

  // Wiring
  Machine& machine_;
  Timer timer_;  // host time: it is a user's finger
  // State
  std::vector<Key> held_;
};

}  // namespace menura
