// RawTerminal: a terminal whose keys arrive one by one and unseen, until the end of its life, of
// the program by exit(), or of the program by a fatal signal. See termios(3).
//
// Owner: the stdio chardev; one at a time in a process. Threads: the main thread.
// Example: `auto raw = TRY(RawTerminal::enter(STDIN_FILENO, KeySignals::Off));`
#pragma once

#include <memory>

#include "base/result.h"
#include "base/types.h"

namespace menura {

enum class KeySignals : u8 { Off, On };  // whether Ctrl-C, Ctrl-Z and Ctrl-\ raise signals

class RawTerminal {
 public:
  // Errc::Busy when another one lives.
  static Result<std::unique_ptr<RawTerminal>> enter(int fd, KeySignals key_signals);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  RawTerminal() = default;
};

}  // namespace menura
