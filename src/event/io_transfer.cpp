#include "event/io_transfer.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

namespace menura {

namespace {
// EAGAIN in a row after which a descriptor counts as unable (it is non-blocking: not a file).
constexpr unsigned kRefusalLimit = 64;
}  // namespace

IoTransfer::IoTransfer(IoRequest request) : request_(std::move(request)) {
  for (const iovec& buffer : request_.buffers) total_ += buffer.iov_len;
  ensure(!moves_bytes() || total_ > 0, "an empty transfer");
}

std::span<iovec> IoTransfer::buffers() {
  const std::span<iovec> rest = std::span(request_.buffers).subspan(next_buffer_);
  return rest.first(std::min<size_t>(rest.size(), IOV_MAX));
}

int IoTransfer::rw_flags() const {
  return request_.op == IoOp::Write && request_.durable ? RWF_DSYNC : 0;
}

int IoTransfer::fallocate_mode() const {
  return FALLOC_FL_KEEP_SIZE |
         (request_.op == IoOp::Discard ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

const char* IoTransfer::verb() const {
  switch (request_.op) {
    case IoOp::Read: return "Reading";
    case IoOp::Write: return "Writing";
    case IoOp::Flush: return "Flushing";
    case IoOp::Discard: return "Discarding";
    case IoOp::Zero: return "Zeroing";
  }
  unreachable();
}

bool IoTransfer::end(Result<void> outcome) {
  outcome_ = std::move(outcome);
  return true;
}

bool IoTransfer::end_cancelled() {
  return end(fail(Errc::Cancelled, "{} at {}: cancelled", verb(), offset()));
}

bool IoTransfer::advance(i64 result) {
  const u64 size = moves_bytes() ? total_ : request_.length;
  if (result < 0) {
    const int os_errno = static_cast<int>(-result);
    // ECANCELED without our asking: the thread that submitted it has ended.
    const bool again = os_errno == EINTR || os_errno == EAGAIN || os_errno == ECANCELED;
    if (again && cancelled_) return end_cancelled();
    if (again && ++refusals_ < kRefusalLimit) return false;
    return end(fail_errno(os_errno, "{} {} bytes at {}", verb(), size, offset()));
  }
  refusals_ = 0;
  if (!moves_bytes()) return end({});
  if (result == 0)
    return end(request_.op == IoOp::Read
                   ? fail(Errc::Corrupt, "Reading {} bytes at {}: end of file after {}", size,
                          request_.offset, moved_)
                   : fail(Errc::Io, "Writing {} bytes at {}: nothing was taken after {}", size,
                          request_.offset, moved_));
  moved_ += static_cast<u64>(result);
  if (moved_ == total_) return end({});
  for (size_t left = static_cast<size_t>(result); left > 0 || buffers()[0].iov_len == 0;) {
    iovec& buffer = request_.buffers[next_buffer_];
    const size_t here = std::min(left, buffer.iov_len);
    buffer.iov_base = static_cast<std::byte*>(buffer.iov_base) + here;
    buffer.iov_len -= here;
    left -= here;
    if (buffer.iov_len == 0) next_buffer_++;
  }
  return cancelled_ ? end_cancelled() : false;
}

}  // namespace menura
