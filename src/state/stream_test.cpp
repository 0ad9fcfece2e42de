// The binary stream: what is written is read, and no damage whatever does more than an Error.
#include <gtest/gtest.h>

#include <random>

#include "base/bytes.h"
#include "state/sample_state.h"
#include "state/tree.h"

namespace menura {
namespace {

using Stream = std::vector<std::byte>;

Stream sample_stream() {
  SampleState full = SampleState::other();
  return to_stream(save_state(full, "sample", 2));
}

// CRC-32C bit by bit, as RFC 3720 appendix B.4 describes it: polynomial 0x1edc6f41 reflected.
u32 slow_crc32c(ConstBytes data) {
  u32 crc = ~0u;
  for (const std::byte b : data) {
    crc ^= static_cast<u32>(b);
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
  }
  return ~crc;
}

// Puts length and checksum right again, so that the damage reaches the reader behind them.
void repair(Stream& stream) {
  store_le<u64>(stream, 8, stream.size() - 20);
  store_le<u32>(stream, stream.size() - 4,
                slow_crc32c(ConstBytes(stream).first(stream.size() - 4)));
}

TEST(Stream, RoundTripIsExact) {
  SampleState full = SampleState::other();
  const StateTree tree = save_state(full, "sample", 2);
  const Result<StateTree> read = from_stream(to_stream(tree));
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_TRUE(*read == tree);
  EXPECT_EQ(read->version, 2u);
  EXPECT_EQ(read->name, "sample");
}

TEST(Stream, HeaderIsAsDocumented) {
  const Stream stream = sample_stream();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(stream.data()), 4), "MNST");
  EXPECT_EQ(load_le<u32>(stream, 4), 1u);
  EXPECT_EQ(load_le<u64>(stream, 8), stream.size() - 20);
  EXPECT_EQ(load_le<u32>(stream, stream.size() - 4),
            slow_crc32c(ConstBytes(stream).first(stream.size() - 4)));
  // The check value of CRC-32C, RFC 3720 B.4 and others: of the text "123456789".
  EXPECT_EQ(slow_crc32c(std::as_bytes(std::span("123456789", 9))), 0xe3069283u);
}

TEST(Stream, EveryTruncationIsAnError) {
  const Stream stream = sample_stream();
  for (size_t size = 0; size < stream.size(); size++) {
    const Result<StateTree> read = from_stream(ConstBytes(stream).first(size));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().code, Errc::Corrupt);
  }
  Stream longer = stream;
  longer.push_back({});
  EXPECT_FALSE(from_stream(longer));
}

TEST(Stream, EveryFlippedBitIsAnError) {
  Stream stream = sample_stream();
  for (size_t at = 0; at < stream.size(); at++)
    for (int bit = 0; bit < 8; bit++) {
      stream[at] ^= std::byte{1} << bit;
      ASSERT_FALSE(from_stream(stream)) << at << "." << bit;
      stream[at] ^= std::byte{1} << bit;
    }
  EXPECT_TRUE(from_stream(stream));
}

// Behind a correct checksum: each byte at several values, read and, if it can be read, loaded.
TEST(Stream, DamageBehindTheChecksumNeverCrashes) {
  const Stream good = sample_stream();
  size_t errors = 0;
  for (size_t at = 16; at < good.size() - 4; at++)
    for (const unsigned value : {0x00u, 0x01u, 0x7fu, 0x80u, 0xffu, 0x10u}) {
      Stream stream = good;
      stream[at] = static_cast<std::byte>(value);
      repair(stream);
      const Result<StateTree> read = from_stream(stream);
      SampleState loaded;
      if (!read || !load_state(loaded, *read)) errors++;
      if (read) (void)print_tree(*read);
    }
  EXPECT_GT(errors, 1000u);
}

TEST(Stream, RandomPayloadsNeverCrash) {
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; round++) {
    Stream stream(20 + random() % 200);
    for (std::byte& b : stream) b = static_cast<std::byte>(random() % (random() % 4 ? 8 : 256));
    store_le<u32>(stream, 0, 0x54534e4d);
    store_le<u32>(stream, 4, 1);
    repair(stream);
    if (const Result<StateTree> read = from_stream(stream)) (void)to_json(*read);
  }
}

TEST(Stream, TruncatedPayloadsEndInErrors) {
  const Stream good = sample_stream();
  for (size_t size = 20; size < good.size(); size++) {
    Stream stream(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    repair(stream);
    EXPECT_FALSE(from_stream(stream)) << size;
  }
}

TEST(Stream, DeepNestingIsRefused) {
  StateTree tree;
  for (int depth = 0; depth < 100; depth++) {
    StateTree outer;
    outer.children.push_back(std::move(tree));
    tree = std::move(outer);
  }
  const Result<StateTree> read = from_stream(to_stream(tree));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().text, "Saved state is nested too deeply");
}

TEST(Stream, OtherFilesAndVersionsAreTold) {
  EXPECT_EQ(from_stream({}).error().text, "This is not a saved state of menura");
  Stream stream = sample_stream();
  store_le<u32>(stream, 4, 2);
  EXPECT_EQ(from_stream(stream).error().code, Errc::Unsupported);
  EXPECT_EQ(from_stream(stream).error().text, "Saved state has format 2, this program reads 1");
}

TEST(Stream, UnknownKindsAndAmbiguousNamesAreRefused) {
  Stream stream = sample_stream();
  stream[16] = std::byte{6};  // the root's kind: the first byte past the header
  repair(stream);
  EXPECT_EQ(from_stream(stream).error().text, "Saved state holds an unknown kind 6");
  stream = sample_stream();
  stream.insert(stream.end() - 4, std::byte{0});
  repair(stream);
  EXPECT_EQ(from_stream(stream).error().text, "Saved state has bytes after its end");
  StateTree twice;
  twice.children.resize(2);
  twice.children[0].name = twice.children[1].name = "a";
  EXPECT_EQ(from_stream(to_stream(twice)).error().text, "Saved state holds 'a' twice");
  StateTree odd;
  odd.kind = StateTree::Kind::Integer;
  odd.width_bits = 0;
  EXPECT_EQ(from_stream(to_stream(odd)).error().text, "Saved state holds an integer of 0 bits");
  odd.kind = StateTree::Kind::Boolean;
  odd.integer = 2;
  EXPECT_EQ(from_stream(to_stream(odd)).error().text, "Saved state holds a half-true value");
}

// A count that the stream cannot hold costs no memory.
TEST(Stream, HugeCountsAreRefusedAtOnce) {
  StateTree tree;
  Stream stream = to_stream(tree);
  store_le<u64>(stream, stream.size() - 12, ~u64{0} / 2);  // the root's number of members
  repair(stream);
  EXPECT_EQ(from_stream(stream).error().text, "Saved state ends early");
}

}  // namespace
}  // namespace menura
