#include "block/core/deflate.h"

#include <zlib.h>

namespace menura {

Result<void> inflate_block(ConstBytes packed, Bytes to, int window_bits) {
  z_stream stream{};
  if (inflateInit2(&stream, window_bits) != Z_OK)
    return fail(Errc::NoMemory, "Starting to inflate");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(to.data());
  stream.avail_out = static_cast<uInt>(to.size());
  const int state = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  // Z_BUF_ERROR: the stream goes on, but the block is full.
  if ((state != Z_STREAM_END && state != Z_BUF_ERROR) || stream.avail_out != 0)
    return fail(Errc::Corrupt, "A compressed cluster does not inflate to its size");
  return {};
}

Result<size_t> deflate_block(ConstBytes from, Bytes room, int window_bits) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window_bits, 9,
                   Z_DEFAULT_STRATEGY) != Z_OK)
    return fail(Errc::NoMemory, "Starting to deflate");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(room.data());
  stream.avail_out = static_cast<uInt>(room.size());
  const int state = deflate(&stream, Z_FINISH);
  const size_t size = room.size() - stream.avail_out;
  deflateEnd(&stream);
  if (state != Z_STREAM_END) return fail(Errc::NoSpace, "It does not get smaller");
  return size;
}

}  // namespace menura
