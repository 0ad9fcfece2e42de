#include "jit/run/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/bits.h"
#include "base/check.h"

namespace menura::jit {

Result<std::unique_ptr<CodeCache>> CodeCache::create(size_t size) {
  size = align_up<size_t>(size, 4096);
  UniqueFd fd(memfd_create("menura-jit-code", MFD_CLOEXEC));
  if (!fd) return fail_errno(errno, "Creating the JIT's code memory");
  if (ftruncate(fd.get(), static_cast<off_t>(size)) < 0)
    return fail_errno(errno, "Sizing the JIT's code memory to {} bytes", size);
  void* w = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (w == MAP_FAILED) return fail_errno(errno, "Mapping {} bytes of code memory to write", size);
  void* x = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd.get(), 0);
  if (x == MAP_FAILED) {
    const int why = errno;
    munmap(w, size);
    return fail_errno(why, "Mapping {} bytes of code memory to execute", size);
  }
  return std::unique_ptr<CodeCache>(
      new CodeCache(std::move(fd), static_cast<u8*>(w), static_cast<u8*>(x), size));
}

CodeCache::~CodeCache() {
  munmap(writable_, size_);
  munmap(executable_, size_);
}

void CodeCache::commit(size_t bytes) {
  ensure(bytes <= room(), "code written beyond the cache");
  used_ = std::min(size_, align_up<size_t>(used_ + bytes, 16));
}

}  // namespace menura::jit
