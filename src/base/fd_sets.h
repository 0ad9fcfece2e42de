// Descriptors that somebody else opened for this program: in numbered sets, whose names as files are
// "/dev/fdset/N" (open_file() takes from a set the one that is open as it is wanted); with a name, for
// one user each; and those that it was started with, by number.
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
// Of a set that is not there yet.
u32 free_fd_set();
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

// A name begins with no digit: those are numbers. One that is taken is given to the new descriptor.
Result<void> name_fd(std::string name, UniqueFd fd);
Result<void> close_named_fd(std::string_view name);
// The descriptor of that number, which the program inherited, or of that name, which it has no more.
// Its new owner is the only one.
Result<UniqueFd> take_fd(std::string_view number_or_name);

}  // namespace menura
