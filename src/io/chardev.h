// Chardev: a stream of bytes to and from the host: a serial port's other end, a monitor's terminal.
//
// Owner: the machine. Threads: in the loop and under the machine lock. Output never blocks: what
// write() does not take must be offered again after CharSink::writable(). While nobody is at the
// other end (between Closed and Opened), output is taken and dropped, as by an unplugged cable.
// Example: `size_t taken = chardev.write(bytes);`
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/types.h"

namespace menura {

enum class CharEvent : u8 {
  Opened,  // somebody is at the other end; also from attach(), if somebody is there already
  Closed,
  Break,  // a serial line's break condition
  // Of a mux's ports: whether the user's keys go here.
  FocusGained,
  FocusLost,
};

// The device's side: it says how many bytes it has room for.
class CharSink {
 public:
  virtual ~CharSink() = default;
  virtual size_t room() = 0;
  virtual void receive(ConstBytes bytes) = 0;  // at most room() bytes, at least one
  virtual void event(CharEvent) {}
  virtual void writable() {}  // after a write() that was not taken whole
};

class Chardev {
 public:
  virtual ~Chardev() = default;
  // Takes as much as it can now; returns how many bytes were taken.
  virtual size_t write(ConstBytes bytes) = 0;
  // One sink at a time; null detaches. Input waits while there is none.
  virtual void attach(CharSink* sink) = 0;
  // The sink has room again after it had none.
  virtual void accept_input() = 0;
  // Where the other end is, in the words of query-chardev: "pty:/dev/pts/3", "stdio".
  virtual std::string where() const { return {}; }
  // Descriptors that the other end sent along with its bytes (SCM_RIGHTS of UNIX sockets) and nobody
  // took yet, oldest first. They are the caller's now.
  virtual std::vector<UniqueFd> take_fds() { return {}; }
  // Behind those that only pass on (a log, an exchangeable end): the device that does the work.
  virtual Chardev& innermost() { return *this; }
};

}  // namespace menura
