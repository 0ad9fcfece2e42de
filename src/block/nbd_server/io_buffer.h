// IoBuffer: bytes for one request, aligned as O_DIRECT wants them, not cleared.
//
// Owner: a request. Threads: a value. Example: `Result<void> r = buffer.resize(4096);`
#pragma once

#include <cstdlib>
#include <memory>

#include "base/result.h"
#include "base/types.h"

namespace menura {

class IoBuffer {
 public:
  // What it held is lost.
  Result<void> resize(size_t size) {
    constexpr size_t kAlignment = 4096;
    const size_t whole = (size + kAlignment - 1) / kAlignment * kAlignment;
    if (whole > capacity_) {
      bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, whole)));
      capacity_ = bytes_ ? whole : 0;
      if (!bytes_) return fail(Errc::NoMemory, "No memory for a request of {} bytes", size);
    }
    size_ = size;
    return {};
  }
  // Keeps small ones for the next request.
  void trim(size_t most) {
    if (capacity_ > most) bytes_.reset(), capacity_ = 0;
    size_ = 0;
  }
  Bytes bytes() const { return {bytes_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  size_t capacity_ = 0;
  size_t size_ = 0;
};

}  // namespace menura
