// Descriptors that somebody else opened for this program: in numbered sets, whose names as files are
// "/dev/fdset/N". open_file() takes from a set the one that is open as it is wanted.
//
// Owner: base, one table a process, as descriptors are. Threads: any.
// Example: `TRY(add_to_fd_set(0, fd, "serial0"));  auto file = TRY(open_file("/dev/fdset/0", O_WRONLY));`
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace menura {

inline constexpr std::string_view kFdSetPath = "/dev/fdset/";

// The set owns the descriptor from now on. InvalidArgument when it is not open.
Result<void> add_to_fd_set(u32 set, int fd, std::string opaque);
// All of it, or one descriptor; NotFound when there is none such.
Result<void> remove_from_fd_set(u32 set, int fd = -1);

struct FdSetEntry {
  u32 set = 0;
  int fd = -1;
  std::string opaque;
};
// By set.
std::vector<FdSetEntry> fd_sets();

// A new descriptor for one of the set whose access mode is that of flags. Permission when all are
// open for something else.
Result<UniqueFd> open_from_fd_set(u32 set, int flags);

}  // namespace menura
