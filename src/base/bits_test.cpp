#include "base/bits.h"

#include <endian.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "base/bytes.h"

namespace menura {
namespace {

static_assert(bit(0) == 1 && bit(63) == u64{1} << 63);
static_assert(low_mask(0) == 0 && low_mask(1) == 1 && low_mask(64) == ~u64{0});
static_assert(bits(u32{0xabcd1234}, 15, 8) == 0x12);
static_assert(bits(u32{0xabcd1234}, 31, 0) == 0xabcd1234);
static_assert(bits(~u64{0}, 63, 63) == 1);
static_assert(with_bits(u16{0xffff}, 11, 4, 0) == 0xf00f);
static_assert(with_bits(u16{0}, 11, 4, 0x1ff) == 0x0ff0, "what does not fit the field is cut off");
static_assert(merge(u8{0b1010'1010}, u8{0b0101'0101}, u8{0b1111'0000}) == 0b0101'1010);
static_assert(is_power_of_two(u32{64}) && !is_power_of_two(u32{0}) && !is_power_of_two(u32{6}));
static_assert(align_down(u64{0x1fff}, u64{0x1000}) == 0x1000);
static_assert(align_up(u64{0x1001}, u64{0x1000}) == 0x2000 &&
              align_up(u64{0x1000}, u64{0x1000}) == 0x1000);
static_assert(align_up(~u64{0}, u64{0x1000}) == 0, "wraps");
static_assert(sign_extend(0x80, 8) == -128 && sign_extend(0x7f, 8) == 127 &&
              sign_extend(1, 1) == -1);
static_assert(sign_extend(0xffff'ffff'8000'0000, 64) == -(i64{1} << 31));
static_assert(sign_extend(0xab'cd80, 8) == -128, "higher bits do not matter");
static_assert(byte_swap(u8{0x12}) == 0x12 && byte_swap(u16{0x1234}) == 0x3412);

// Field by field against shifting one bit at a time.
TEST(Bits, FieldsAgreeWithSingleBits) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; round++) {
    const u64 value = random(), field = random();
    const auto low = static_cast<unsigned>(random() % 64);
    const auto high = low + static_cast<unsigned>(random() % (64 - low));
    u64 expected = 0, replaced = value;
    for (unsigned i = low; i <= high; i++) {
      expected |= u64{test_bit(value, i)} << (i - low);
      replaced = (replaced & ~bit(i)) | (u64{test_bit(field, i - low)} << i);
    }
    ASSERT_EQ(bits(value, high, low), expected);
    ASSERT_EQ(with_bits(value, high, low, field), replaced);
  }
}

// The C library's conversions are the oracle, at every alignment.
TEST(Bytes, ByteOrderAgreesWithTheCLibrary) {
  std::array<std::byte, 32> memory{};
  for (size_t i = 0; i < memory.size(); i++) memory[i] = static_cast<std::byte>(i * 37 + 11);
  for (size_t at = 0; at + 8 <= memory.size(); at++) {
    u16 h;
    u32 w;
    u64 d;
    std::memcpy(&h, &memory[at], sizeof h);
    std::memcpy(&w, &memory[at], sizeof w);
    std::memcpy(&d, &memory[at], sizeof d);
    EXPECT_EQ(load_le<u16>(memory, at), le16toh(h));
    EXPECT_EQ(load_be<u16>(memory, at), be16toh(h));
    EXPECT_EQ(load_le<u32>(memory, at), le32toh(w));
    EXPECT_EQ(load_be<u32>(memory, at), be32toh(w));
    EXPECT_EQ(load_le<u64>(memory, at), le64toh(d));
    EXPECT_EQ(load_be<u64>(memory, at), be64toh(d));
  }
}

TEST(Bytes, StoresTouchOnlyTheirBytes) {
  std::array<std::byte, 8> memory{};
  store_be<u32>(memory, 2, 0x11223344);
  EXPECT_EQ(load_be<u64>(memory), 0x0000'1122'3344'0000u);
  store_le<u16>(memory, 6, 0xaabb);
  EXPECT_EQ(memory[6], std::byte{0xbb});
  EXPECT_EQ(memory[7], std::byte{0xaa});
  EXPECT_EQ(load_le<u8>(memory, 7), 0xaa);
}

TEST(BytesDeathTest, OutsideTheSpanIsOurBug) {
  std::array<std::byte, 4> memory{};
  EXPECT_DEATH((void)load_le<u32>(memory, 1), "load_le inside the span");
  EXPECT_DEATH((void)load_le<u8>(memory, ~size_t{0}), "load_le inside the span");
  EXPECT_DEATH(store_le<u16>(memory, 3, 0), "store_le inside the span");
}

}  // namespace
}  // namespace menura
