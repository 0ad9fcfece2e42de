// The runs of sectors that a UDIF image is made of, from its trailer and property list. All integers
// are big-endian.
//
// Owner: block/dmg. Threads: values. Example: `const std::vector<Chunk> c = TRY(read_chunks(*file));`
#pragma once

#include <vector>

#include "block/core/node.h"

namespace menura::dmg {

struct Chunk {
  enum class Kind : u8 { Zero, Raw, Zlib };
  Kind kind = Kind::Zero;
  u64 begin = 0, end = 0;  // bytes of the disk
  u64 offset = 0;          // in the file
  u64 length = 0;          // there
};

// In the disk's order, without overlaps. Errc::Unsupported names a compression we do not know.
Result<std::vector<Chunk>> read_chunks(Node& file);

}  // namespace menura::dmg
