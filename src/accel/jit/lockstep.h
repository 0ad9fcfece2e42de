// Lockstep: what is needed to run a block twice, translated and one instruction at a time, and to
// compare what the two made of registers and memory (`-accel jit,lockstep=interp`).
//
// Owner: a JitVcpu that runs in lockstep. Threads: the vCPU's. Design: docs/decisions/006-interpreter.md.
// Example: `journal.begin(); run(); journal.end(); std::vector<Written> is = journal.written(); journal.undo();`
#pragma once

#include <string>
#include <vector>

#include "base/types.h"
#include "cpu/x86/state.h"

namespace menura::engine {

// Guest memory as a run left it.
struct Written {
  u8* host;
  u64 physical;
  u8 value;
};

// The stores of a run to RAM, with what was there before.
class Journal {
 public:
  void begin();
  void end() { active_ = false; }
  // Before `size` bytes there are, or may be, written.
  void note(void* host, u64 physical, u64 size);
  // Each byte written, once, in the order of host addresses, with its value now or before the run.
  std::vector<Written> now() const;
  std::vector<Written> before() const;
  void undo();

 private:
  struct Store {
    u8* host;
    u64 physical, size;
    size_t old;  // index into bytes_
  };
  std::vector<Written> bytes(bool old) const;

  // State
  bool active_ = false;
  std::vector<Store> stores_;
  std::vector<u8> bytes_;
};

// One run of a block's instructions.
struct Run {
  x86::State state;
  std::vector<Written> memory;
};

// What differs, a line each; empty: nothing. `original`: what the bytes were that `stepped` wrote.
// `flags`: the status flags that count.
std::string differences(const Run& translated, const Run& stepped,
                        const std::vector<Written>& original, u64 flags);

}  // namespace menura::engine
