#include "block/qcow2/codec.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

namespace menura::qcow2 {

namespace {

constexpr int kWindowBits = -12;  // raw, 4 KiB

Result<void> inflate_all(ConstBytes packed, Bytes to) {
  z_stream stream{};
  if (inflateInit2(&stream, kWindowBits) != Z_OK)
    return fail(Errc::NoMemory, "Starting to inflate");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(to.data());
  stream.avail_out = static_cast<uInt>(to.size());
  const int state = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  // Z_BUF_ERROR: the stream goes on, but the cluster is full.
  if ((state != Z_STREAM_END && state != Z_BUF_ERROR) || stream.avail_out != 0)
    return fail(Errc::Corrupt, "A compressed cluster does not inflate to its size");
  return {};
}

Result<void> unzstd_all(ConstBytes packed, Bytes to) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(),
                                                                   &ZSTD_freeDCtx);
  if (!context) return fail(Errc::NoMemory, "Starting to decompress");
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  ZSTD_outBuffer out{to.data(), to.size(), 0};
  while (out.pos < out.size) {
    const size_t before = out.pos + in.pos;
    const size_t state = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(state))
      return fail(Errc::Corrupt, "A compressed cluster is damaged: {}", ZSTD_getErrorName(state));
    if (out.pos + in.pos == before)
      return fail(Errc::Corrupt, "A compressed cluster does not decompress to its size");
  }
  return {};
}

}  // namespace

Result<void> unpack(CompressionType type, ConstBytes packed, Bytes to) {
  return type == CompressionType::Zlib ? inflate_all(packed, to) : unzstd_all(packed, to);
}

Result<size_t> pack(CompressionType type, ConstBytes from, Bytes room) {
  if (type == CompressionType::Zstd) {
    const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(),
                                                                     &ZSTD_freeCCtx);
    if (!context) return fail(Errc::NoMemory, "Starting to compress");
    const size_t size = ZSTD_compressCCtx(context.get(), room.data(), room.size(), from.data(),
                                          from.size(), ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(size)) return fail(Errc::NoSpace, "It does not get smaller");
    return size;
  }
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWindowBits, 9,
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

}  // namespace menura::qcow2
