// What a device presents to an address space: a handler for reads and writes of a region.
//
// Owner: memory (implemented by devices). Threads: called under the machine lock.
// Offsets are relative to the region. The address space splits or widens accesses to the sizes that
// AccessRules allow, so a handler sees only these. Values are zero-extended; bits above the size
// are ignored on writes. Example: see hw/timer/pit.h.
#pragma once

#include "base/types.h"

namespace menura {

struct Access {
  u64 offset = 0;
  unsigned size = 1;  // bytes: 1, 2, 4 or 8
};

class MmioHandler {
 public:
  virtual ~MmioHandler() = default;
  virtual u64 read(Access access) = 0;
  virtual void write(Access access, u64 value) = 0;
};

enum class ByteOrder : u8 { Little, Big };

// Which accesses a region answers, and which its handler implements.
struct AccessRules {
  // Accesses of other sizes read all ones and are dropped (with a guest error).
  u8 valid_min = 1;
  u8 valid_max = 8;
  bool valid_unaligned = true;
  // The handler's own sizes: smaller accesses are widened (read-modify is never done: a write is
  // passed with its own size when the handler's minimum would need it), larger ones are split.
  u8 handler_min = 1;
  u8 handler_max = 4;
  ByteOrder order = ByteOrder::Little;
};

}  // namespace menura
