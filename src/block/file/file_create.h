// New files, and the sizes of files: the part of "file" that needs no open image.
//
// Owner: block/file. Threads: any. Example: `TRY(resize_file(fd, "a.img", 0, size, Preallocation::Full));`
#pragma once

#include <string>

#include "block/core/driver.h"

namespace menura {

struct FileCreate {
  Preallocation preallocation = Preallocation::Off;
  bool nocow = false;
  Size extent_size_hint{1 << 20};
  void describe(PropertyVisitor& p);
};

// Empties a file that is there, unless somebody uses it.
Result<void> create_file_image(CreateContext& context);
// A device cannot be made, only used when it is large enough; its old header is wiped.
Result<void> create_on_device(CreateContext& context);

// New bytes read as zeroes; Falloc and Full give them space.
Result<void> resize_file(int fd, const std::string& path, u64 from, u64 to,
                         Preallocation preallocation);

}  // namespace menura
