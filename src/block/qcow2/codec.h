// Compressed clusters: raw deflate in a 4 KiB window (RFC 1951), or Zstandard (RFC 8878).
//
// Owner: block/qcow2. Threads: pure functions. Spec: "Compressed Clusters Descriptor".
// Example: `size_t n = TRY(pack(CompressionType::Zlib, cluster, room));`
#pragma once

#include "base/result.h"
#include "base/types.h"
#include "block/qcow2/format.h"

namespace menura::qcow2 {

// Fills `to` whole, from the beginning of `packed` (what follows there is somebody else's).
Result<void> unpack(CompressionType type, ConstBytes packed, Bytes to);
// How many bytes of `room` it took; Errc::NoSpace: it does not fit, and is not worth packing.
Result<size_t> pack(CompressionType type, ConstBytes from, Bytes room);

}  // namespace menura::qcow2
