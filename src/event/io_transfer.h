// IoTransfer: an IoRequest on its way: how far it has come, and what its errors say. Shared by the
// two engines, inside this room.
//
// Owner: the engine, one per request. Threads: one at a time.
// Example: `ssize_t n = preadv(...transfer.buffers()...); if (transfer.advance(n)) transfer.finish();`
#pragma once

#include <span>

#include "event/io_engine.h"

namespace menura {

class IoTransfer {
 public:
  explicit IoTransfer(IoRequest request);

  const IoRequest& request() const { return request_; }
  bool moves_bytes() const { return request_.op == IoOp::Read || request_.op == IoOp::Write; }
  // Of the next system call: at most IOV_MAX buffers, without the bytes already moved.
  std::span<iovec> buffers();
  u64 offset() const { return request_.offset + moved_; }
  // The flags of preadv2(2), fallocate(2).
  int rw_flags() const;
  int fallocate_mode() const;

  // Takes the result of a system call (bytes or 0, or a negative errno). True when the transfer is
  // over, well or not; false when the rest must be submitted.
  bool advance(i64 result);
  // No rest is submitted any more.
  void cancel() { cancelled_ = true; }
  bool cancelled() const { return cancelled_; }
  // Calls done with the outcome.
  void finish() { request_.done(std::move(outcome_)); }

 private:
  const char* verb() const;
  bool end(Result<void> outcome);
  bool end_cancelled();

  IoRequest request_;
  size_t next_buffer_ = 0;
  u64 moved_ = 0;
  u64 total_ = 0;
  unsigned refusals_ = 0;
  bool cancelled_ = false;
  Result<void> outcome_;
};

}  // namespace menura
