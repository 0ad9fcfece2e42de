// FileLock: what a process does with an image file, told to other processes by locks on single
// bytes of it (fcntl(2), open file description locks): shared ones, so that asking needs no writing.
// Byte 100+i says "permission bit i is used", byte 200+i "others must not have it": QEMU's layout,
// so that its processes and ours respect each other.
//
// Owner: a FileImage. Threads: one at a time. The error names who holds the file.
// Example: `TRY(lock.set(fd, path, {kConsistentRead | kWrite, kConsistentRead}));`
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "block/core/permissions.h"

namespace menura {

enum class Locking : u8 { Auto, On, Off };
std::span<const std::string_view> enum_names(Locking);

class FileLock {
 public:
  // Errc::Busy when others do not allow it; then what was held before is still held. A file system
  // without such locks is an error for Locking::On only.
  Result<void> set(int fd, const std::string& path, Permissions now, Locking locking);

 private:
  Permissions held_;
};

// "qemu-system-x86 (PID 1234)", or "another process", for who has locked that byte of a file.
std::string lock_holder(int fd, u64 byte);

}  // namespace menura
