// Disk: what a disk controller sees of a medium. Implemented by block/, used by hw/.
//
// Owner: the machine. Threads: submit() under the machine lock; completions come back through the
// loop, under the machine lock, never from inside submit(). Buffers are host memory owned by the
// request: controllers copy to and from guest memory themselves (checked DMA).
// Example: `disk.submit({.op = DiskOp::Read, .offset = lba * 512, .data = buffer, .done = ...});`
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace menura {

enum class DiskOp : u8 { Read, Write, Flush, Discard, WriteZeroes };

struct DiskRequest {
  DiskOp op = DiskOp::Read;
  u64 offset = 0;         // bytes
  u64 length = 0;         // bytes; of Discard and WriteZeroes (others: data.size())
  Bytes data = {};        // Read fills it, Write reads it; stays valid until done
  bool fua = false;       // Write: durable when done
  bool may_unmap = true;  // WriteZeroes: the space may be given back
  std::function<void(Result<void>)> done = {};
};

class Disk {
 public:
  virtual ~Disk() = default;
  virtual u64 size() const = 0;  // bytes, of the present medium
  virtual bool read_only() const = 0;
  virtual bool medium_present() const { return true; }
  virtual void submit(DiskRequest request) = 0;
  // Returns when no request is in flight; their done functions have run.
  virtual void drain() = 0;
};

}  // namespace menura
