// The binary stream: it comes back whole, and nothing damaged is taken. The judge of the checksum is the CPU's CRC32
// instruction where there is one.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "state/tree.h"

namespace menura {
namespace {

StateTree sample() {
  StateTree tree{.name = "chip", .version = 3};
  tree.children.push_back({.name = "wide", .kind = StateTree::Kind::Integer, .integer = ~u64{0}});
  tree.children.push_back({.name = "small",
                           .kind = StateTree::Kind::Integer,
                           .integer = u64(-5),
                           .width_bits = 8,
                           .is_signed = true});
  tree.children.push_back({.name = "on", .kind = StateTree::Kind::Boolean, .integer = 1});
  tree.children.push_back(
      {.name = "label", .kind = StateTree::Kind::Text, .text = std::string("a\0b", 3)});
  tree.children.push_back({.name = "ram",
                           .kind = StateTree::Kind::Bytes,
                           .bytes = std::vector<std::byte>(77, std::byte{9})});
  StateTree list{.name = "list", .kind = StateTree::Kind::List};
  list.children.assign(3, {.kind = StateTree::Kind::Integer, .integer = 4});
  tree.children.push_back(std::move(list));
  return tree;
}

TEST(StateStream, ComesBackWhole) {
  EXPECT_EQ(from_stream(to_stream(sample())).value(), sample());
  EXPECT_EQ(from_stream(to_stream({})).value(), StateTree{});
}

TEST(StateStream, EveryDamagedBitIsNoticed) {
  std::vector<std::byte> stream = to_stream(sample());
  for (size_t at = 0; at < stream.size() * 8; at++) {
    stream[at / 8] ^= static_cast<std::byte>(1u << (at % 8));
    EXPECT_FALSE(from_stream(stream)) << "bit " << at;
    stream[at / 8] ^= static_cast<std::byte>(1u << (at % 8));
  }
  EXPECT_TRUE(from_stream(stream));
}

TEST(StateStream, EveryOtherLengthIsNoticed) {
  std::vector<std::byte> stream = to_stream(sample());
  for (size_t size = 0; size < stream.size(); size++)
    EXPECT_FALSE(from_stream(ConstBytes(stream).first(size))) << size;
  stream.push_back({});
  EXPECT_FALSE(from_stream(stream));
}

// Sealed again after a change, so that only the content is wrong.
u32 reference_crc(ConstBytes data) {
  u32 crc = ~0u;
  for (const std::byte b : data) {
    crc ^= static_cast<u32>(b);
    for (int i = 0; i < 8; i++) crc = (crc >> 1) ^ (0x82f6'3b78u & -(crc & 1));
  }
  return ~crc;
}
Result<StateTree> sealed(std::vector<std::byte> stream) {
  const size_t end = stream.size() - 4;
  store_le<u64>(stream, 8, end - 16);
  store_le(Bytes(stream), end, reference_crc(ConstBytes(stream).first(end)));
  return from_stream(stream);
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) u32 hardware_crc(ConstBytes data) {
  u32 crc = ~0u;
  for (const std::byte b : data) crc = __builtin_ia32_crc32qi(crc, static_cast<unsigned char>(b));
  return ~crc;
}
TEST(StateStream, TheChecksumIsCrc32c) {
  if (!__builtin_cpu_supports("sse4.2")) GTEST_SKIP() << "this CPU has no CRC32 instruction";
  const std::vector<std::byte> stream = to_stream(sample());
  const ConstBytes covered = ConstBytes(stream).first(stream.size() - 4);
  EXPECT_EQ(load_le<u32>(stream, covered.size()), hardware_crc(covered));
}
#endif

TEST(StateStream, CountsAndLengthsBeyondTheInputCostNothing) {
  const std::vector<std::byte> good = to_stream(sample());
  ASSERT_TRUE(sealed(good));
  // The root: kind (1), length of its name (8), name (4), version (4), number of children (8).
  for (const size_t at : {size_t{17}, size_t{17 + 8 + 4 + 4}}) {
    for (const u64 lie : {~u64{0}, u64{1} << 40, u64{100'000}}) {
      std::vector<std::byte> bad = good;
      store_le(Bytes(bad), at, lie);
      const Result<StateTree> read = sealed(bad);
      ASSERT_FALSE(read);
      EXPECT_EQ(read.error().text, "Saved state ends early");
    }
  }
}

TEST(StateStream, UnknownKindsFormatsAndTrailingBytesAreRefused) {
  const std::vector<std::byte> good = to_stream(sample());
  std::vector<std::byte> bad = good;
  bad[16] = std::byte{6};
  EXPECT_EQ(sealed(bad).error().text, "Saved state holds an unknown kind 6");
  bad = good;
  bad[4] = std::byte{2};
  EXPECT_EQ(sealed(bad).error().code, Errc::Unsupported);
  bad = good;
  bad.insert(bad.end() - 4, std::byte{});
  EXPECT_EQ(sealed(bad).error().text, "Saved state has bytes after its end");
}

TEST(StateStream, ANameTwiceInAStructIsRefused) {
  StateTree tree = sample();
  tree.children.push_back(tree.children[2]);
  EXPECT_EQ(from_stream(to_stream(tree)).error().text, "Saved state holds 'on' twice");
}

TEST(StateStream, DepthIsBounded) {
  StateTree deep;
  for (int i = 0; i < 60; i++) {
    StateTree outer;
    outer.children.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_TRUE(from_stream(to_stream(deep)));
  for (int i = 0; i < 10; i++) {
    StateTree outer;
    outer.children.push_back(std::move(deep));
    deep = std::move(outer);
  }
  EXPECT_EQ(from_stream(to_stream(deep)).error().text, "Saved state is nested too deeply");
}

}  // namespace
}  // namespace menura
