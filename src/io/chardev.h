// Chardev: a stream of bytes to and from the host: a serial port's other end, a monitor's terminal.
//
// Owner: the machine. Threads: in the loop and under the machine lock. Output never blocks: what
// write() does not take must be offered again after CharSink::writable().
// Example: `size_t taken = chardev.write(bytes);`
#pragma once

#include "base/types.h"

namespace menura {

enum class CharEvent : u8 { Opened, Closed, Break };

// The device's side: it says how many bytes it has room for.
class CharSink {
 public:
  virtual ~CharSink() = default;
  virtual size_t room() = 0;
  virtual void receive(ConstBytes bytes) = 0;  // at most room() bytes
  virtual void event(CharEvent) {}
  virtual void writable() {}
};

class Chardev {
 public:
  virtual ~Chardev() = default;
  // Takes as much as it can now; returns how many bytes were taken.
  virtual size_t write(ConstBytes bytes) = 0;
  // One sink at a time; null detaches.
  virtual void attach(CharSink* sink) = 0;
  // The sink has room again after it had none.
  virtual void accept_input() = 0;
};

}  // namespace menura
