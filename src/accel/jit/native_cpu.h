// NativeCpu: the host's CPU as oracle for single instructions at CPL 3, in 64-bit and in compatibility
// mode: any register may have any value, and whatever exception comes is told as the CPU told it.
//
// Owner: tests of accel/jit. Threads: one at a time, on the thread that made it. It starts and ends each
// run in a signal handler, which sees and sets everything (Linux: struct sigcontext, FP state in
// XSAVE's standard form). Example:
//   NativeCpu cpu;  NativeOutcome end = cpu.run(state, code32);   // end.vector is 3 behind an INT3
#pragma once

#include <array>
#include <vector>

#include "base/types.h"

namespace menura::engine {

struct CpuRegisters {
  std::array<u64, 16> gpr{};
  u64 rip = 0;
  u64 rflags = 2;
  u16 fcw = 0x37f, fsw = 0;
  u8 ftw = 0;  // abridged
  std::array<std::array<u8, 10>, 8> st{};
  u32 mxcsr = 0x1f80;
  std::array<std::array<u64, 4>, 16> ymm{};
  bool operator==(const CpuRegisters&) const = default;
};

struct NativeOutcome {
  CpuRegisters registers;
  u8 vector = 0;
  u32 error_code = 0;
  u64 cr2 = 0;  // of #PF
};

// The base of FS, which native code is run with: this thread's.
inline u64 thread_pointer() {
  u64 base;
  asm("rdfsbase %0" : "=r"(base));
  return base;
}

class NativeCpu {
 public:
  NativeCpu();
  ~NativeCpu();
  NativeCpu(const NativeCpu&) = delete;
  NativeCpu& operator=(const NativeCpu&) = delete;

  // Runs from registers.rip until the first exception. DS, ES and SS are Linux' flat user segments,
  // FS and GS are null, with thread_pointer() and 0 as bases.
  NativeOutcome run(const CpuRegisters& registers, bool bits32);

 private:
  std::vector<u8> signal_stack_;
};

}  // namespace menura::engine
