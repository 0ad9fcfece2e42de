// Blocks compressed by deflate (RFC 1950, 1951), as qcow, qcow2, VMDK and DMG keep them: whole blocks
// of a size that is known.
//
// Owner: block/core. Threads: pure functions. Errors: Errc::Corrupt when the bytes are no such block.
// Example: `TRY(inflate_block(packed, cluster, kRawDeflate12));`
#pragma once

#include "base/result.h"
#include "base/types.h"

namespace menura {

// As zlib counts windows: negative without zlib's own header and sum.
inline constexpr int kRawDeflate12 = -12;
inline constexpr int kZlib15 = 15;

// All of `to` is filled; what follows in `packed` is left alone.
Result<void> inflate_block(ConstBytes packed, Bytes to, int window_bits);
// How much of `room` it takes; Errc::NoSpace: it does not fit.
Result<size_t> deflate_block(ConstBytes from, Bytes room, int window_bits);

}  // namespace menura
