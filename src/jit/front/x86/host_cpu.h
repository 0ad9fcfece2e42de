// Runs single instructions on this machine's CPU, for tests only.
//
// Owner: jit/front/x86. Threads: a child process of one thread, which may die of what it runs.
// An instruction is placed so that its last byte is the last executable one, and its operand, addressed by rBX, so that
// some bytes of data precede a page that does not exist. Every run ends in a signal, whose cause is the verdict. Example:
//   host_cpu::prepare();
//   Verdict verdict = host_cpu::run({.code = code, .length = 3});
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/types.h"

namespace menura::jit::x86::host_cpu {

struct Trial {
  const std::vector<u8>& code;
  unsigned length = 0;         // bytes of `code` before the page that cannot be executed
  bool compatibility = false;  // in a 32-bit code segment
  unsigned room = 1024;        // bytes from [rBX] to the page without data, at most 2048
};

struct Verdict {
  u64 trap = 0;             // vector
  u64 error = 0;            // its error code
  bool wants_more = false;  // the fault is that of fetching the byte after the last
  bool data_fault = false;  // the fault is a page fault on the page without data
};
inline constexpr u64 kInvalidOpcode = 6, kWriteAccess = 2;

// Maps the pages and catches the signals; the process is good for run() only from then on.
void prepare();
Verdict run(const Trial& trial);

// Runs `body` in a child and returns what it returned; text about the child's death otherwise.
std::string in_child(const std::function<std::string()>& body);

}  // namespace menura::jit::x86::host_cpu
