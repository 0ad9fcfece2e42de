#include "block/qcow2/codec.h"

#include <zstd.h>

#include <memory>

#include "block/core/deflate.h"

namespace menura::qcow2 {

namespace {

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
  return type == CompressionType::Zlib ? inflate_block(packed, to, kRawDeflate12)
                                       : unzstd_all(packed, to);
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
  return deflate_block(from, room, kRawDeflate12);
}

}  // namespace menura::qcow2
