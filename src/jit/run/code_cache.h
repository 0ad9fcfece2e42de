// CodeCache: memory for host code, mapped twice so that no page is writable and executable at once.
//
// Owner: one vCPU's engine. Threads: one. Example:
//   auto cache = TRY(CodeCache::create(32 * MiB));
//   u8* at = cache->cursor(); ... cache->commit(bytes); run(cache->executable(at));
#pragma once

#include <memory>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace menura::jit {

class CodeCache {
 public:
  static Result<std::unique_ptr<CodeCache>> create(size_t size);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  // Where the next code is written, 16-byte aligned, and how much fits.
  u8* cursor() { return writable_ + used_; }
  size_t room() const { return size_ - used_; }
  size_t used() const { return used_; }
  size_t size() const { return size_; }
  void commit(size_t bytes);
  // Forgets all code behind the first `keep` bytes.
  void rewind(size_t keep) { used_ = keep; }

  const u8* executable(const u8* writable) const { return executable_ + (writable - writable_); }
  u8* writable(const u8* executable) const { return writable_ + (executable - executable_); }
  bool contains(const void* executable) const {
    return executable >= executable_ && executable < executable_ + size_;
  }

 private:
  CodeCache(UniqueFd fd, u8* writable, u8* executable, size_t size)
      : fd_(std::move(fd)), writable_(writable), executable_(executable), size_(size) {}

  UniqueFd fd_;
  u8* writable_;
  u8* executable_;
  size_t size_;
  size_t used_ = 0;
};

}  // namespace menura::jit
