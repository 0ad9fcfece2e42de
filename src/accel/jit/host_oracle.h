// The host's CPU as oracle: runs instruction bytes natively, with all registers given.
//
// Owner: tests of accel/jit. Threads: one at a time. Example:
//   HostOracle host; NativeState s; int vector = host.run(s, bytes);  // -1: no exception
#pragma once

#include <span>

#include "base/types.h"

namespace menura::engine {

struct alignas(64) NativeState {
  u64 gpr[16];
  u64 flags;
  u64 reserved[47];
  u8 fx[512];  // FXSAVE image: x87 and MXCSR
  u8 ymm[16][32];
};

class HostOracle {
 public:
  HostOracle();
  ~HostOracle();
  // The instructions must fall through and leave RSP alone. Gives the exception's vector or -1.
  int run(NativeState& state, std::span<const u8> code);

 private:
  u8* memory_;
};

}  // namespace menura::engine
