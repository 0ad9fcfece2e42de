// A saved state fed with anything: behind a correct header and checksum, so that the reader is
// reached. What it accepts must come back the same, print, compare, and load or fail cleanly.
#include <cstdlib>

#include "base/bytes.h"
#include "state/sample_state.h"
#include "state/tree.h"

namespace {

// Header and checksum of an empty payload's stream, with the payload put in.
std::vector<std::byte> around(menura::ConstBytes payload) {
  using namespace menura;
  std::vector<std::byte> stream = to_stream(StateTree{});
  stream.resize(16);
  stream.insert(stream.end(), payload.begin(), payload.end());
  store_le<u64>(stream, 8, payload.size());
  u32 crc = ~0u;
  for (const std::byte b : stream) {
    crc ^= static_cast<u32>(b);
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f6'3b78u : 0);
  }
  stream.resize(stream.size() + 4);
  store_le<u32>(stream, stream.size() - 4, ~crc);
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, size_t size) {
  using namespace menura;
  const std::vector<std::byte> stream = around(std::as_bytes(std::span(bytes, size)));
  const Result<StateTree> tree = from_stream(stream);
  if (!tree) {
    if (tree.error().code != Errc::Corrupt) std::abort();  // the checksum was right
    return 0;
  }
  if (to_stream(*tree) != stream) std::abort();
  (void)print_tree(*tree);
  (void)to_json(*tree);
  SampleState sample;
  const StateTree reset = save_state(sample, "sample", 2);
  (void)compare(*tree, reset);
  if (load_state(sample, *tree)) {
    // What was loaded is what is saved again, as far as the members are known.
    SampleState twin;
    if (!load_state(twin, save_state(sample, "sample", tree->version)) || !(twin == sample))
      std::abort();
  }
  return 0;
}
