// IoEngine: asynchronous transfers between host files and memory, through io_uring where the host
// allows it, else through a WorkerPool. Both behave the same and pass the same tests.
//
// Owner: the program; dies before its pool and loop, drained. Threads: under the machine lock.
// Completions come through the loop's Tape, never from inside submit(). Short transfers, EINTR and
// EAGAIN are resumed inside. Descriptor and buffers stay valid until done.
// Example:
//   engine->submit({.op = IoOp::Read, .fd = fd, .offset = 512, .buffers = {iovec_of(buffer)},
//                   .done = [](Result<void> status) { ... }});
#pragma once

#include <sys/uio.h>

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class EventLoop;
class WorkerPool;

enum class IoOp : u8 {
  Read,  // past the end of the file: Errc::Corrupt
  Write,
  Flush,    // fdatasync(2)
  Discard,  // fallocate(2), punches a hole; Errc::Unsupported where the file system cannot
  Zero,     // fallocate(2), zeroes in place; the same
};

struct IoRequest {
  IoOp op = IoOp::Read;
  int fd = -1;
  u64 offset = 0;
  std::vector<iovec> buffers = {};  // Read and Write, at least one byte together
  u64 length = 0;                   // Discard and Zero, at least 1
  bool durable = false;             // Write: on stable storage when done
  std::function<void(Result<void>)> done = {};
};

inline iovec iovec_of(Bytes bytes) { return {bytes.data(), bytes.size()}; }
// For writes, which only read their buffers.
inline iovec iovec_of(ConstBytes bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

enum class IoEngineKind : u8 { Auto, Uring, Workers };

class IoEngine {
 public:
  virtual ~IoEngine() = default;

  virtual void submit(IoRequest request) = 0;
  // Asks for an early end of what is in flight: done gets Errc::Cancelled where it still can.
  virtual void cancel() = 0;
  // Returns when nothing is in flight; every done has run.
  virtual void drain() = 0;
  virtual std::string_view name() const = 0;  // "io_uring", "workers"

  // Auto takes io_uring unless the host refuses it; Uring then fails, with the reason.
  static Result<std::unique_ptr<IoEngine>> create(EventLoop& loop, WorkerPool& pool,
                                                  IoEngineKind kind = IoEngineKind::Auto);
};

}  // namespace menura
