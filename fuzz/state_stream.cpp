// Saved state from an untrusted stream: no crash, no memory beyond the input's size, and what is read is written back the same.
#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "state/tree.h"

using namespace menura;

namespace {

// A header and checksum that fit the payload, so that the fuzzer works on what lies behind them.
std::vector<std::byte> seal(ConstBytes payload) {
  std::vector<std::byte> stream = to_stream({});
  stream.resize(16);
  stream.insert(stream.end(), payload.begin(), payload.end());
  store_le<u64>(stream, 8, payload.size());
  u32 crc = ~0u;
  for (const std::byte b : stream) {
    crc ^= static_cast<u32>(b);
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ (0x82f6'3b78u & -(crc & 1));
  }
  stream.resize(stream.size() + 4);
  store_le(Bytes(stream), stream.size() - 4, ~crc);
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ConstBytes input = std::as_bytes(std::span(data, size));
  (void)from_stream(input).ok();
  const Result<StateTree> read = from_stream(seal(input));
  if (!read) return 0;
  const Result<StateTree> again = from_stream(to_stream(*read));
  if (!again || *again != *read) std::abort();
  (void)print_tree(*read);
  (void)to_json(*read);
  if (!compare(*read, *again).empty()) std::abort();
  return 0;
}
