// Bits, byte order, sizes.
#include <gtest/gtest.h>

#include <array>

#include "base/bits.h"
#include "base/bytes.h"
#include "base/units.h"

namespace menura {
namespace {

TEST(Bits, MasksReachBothEnds) {
  EXPECT_EQ(low_mask(0), 0u);
  EXPECT_EQ(low_mask(1), 1u);
  EXPECT_EQ(low_mask(63), 0x7fff'ffff'ffff'ffffu);
  EXPECT_EQ(low_mask(64), ~u64{0});
  EXPECT_EQ(bit(63), u64{1} << 63);
}

TEST(Bits, FieldsAreTakenAndReplaced) {
  EXPECT_EQ(bits<u32>(0x1234'5678, 15, 8), 0x56u);
  EXPECT_EQ(bits<u8>(0xff, 7, 0), 0xffu);
  EXPECT_EQ(bits<u64>(~u64{0}, 63, 0), ~u64{0});
  EXPECT_EQ(with_bits<u32>(0x1234'5678, 15, 8, 0xab), 0x1234'ab78u);
  EXPECT_EQ(with_bits<u16>(0, 3, 0, 0x1ff), 0x000fu);  // what does not fit is cut off
  EXPECT_EQ(merge<u8>(0b1010'1010, 0b0101'0101, 0x0f), 0b1010'0101);
  EXPECT_TRUE(test_bit<u16>(0x8000, 15));
  EXPECT_FALSE(test_bit<u16>(0x8000, 14));
}

TEST(Bits, Alignment) {
  EXPECT_EQ(align_down<u64>(0x1fff, 0x1000), 0x1000u);
  EXPECT_EQ(align_up<u64>(0x1001, 0x1000), 0x2000u);
  EXPECT_EQ(align_up<u64>(0x1000, 0x1000), 0x1000u);
  EXPECT_EQ(align_up<u32>(0xffff'ffff, 0x1000), 0u);  // past the top
  EXPECT_TRUE(is_power_of_two<u64>(u64{1} << 63));
  EXPECT_FALSE(is_power_of_two<u64>(0));
  EXPECT_FALSE(is_power_of_two<u64>(12));
}

TEST(Bits, SignExtension) {
  EXPECT_EQ(sign_extend(0x80, 8), -128);
  EXPECT_EQ(sign_extend(0x7f, 8), 127);
  EXPECT_EQ(sign_extend(0xffff'ff7f, 8), 127);  // bits above the width do not count
  EXPECT_EQ(sign_extend(1, 1), -1);
  EXPECT_EQ(sign_extend(u64{1} << 63, 64), INT64_MIN);
}

TEST(ByteOrder, BothOrdersAtOddOffsets) {
  std::array<std::byte, 11> memory{};
  store_le<u64>(memory, 3, 0x0102'0304'0506'0708);
  EXPECT_EQ(std::to_integer<int>(memory[3]), 8);
  EXPECT_EQ(std::to_integer<int>(memory[10]), 1);
  EXPECT_EQ(load_be<u64>(memory, 3), 0x0807'0605'0403'0201u);
  EXPECT_EQ(load_le<u16>(memory, 3), 0x0708u);
  store_be<u32>(memory, 1, 0xaabb'ccdd);
  EXPECT_EQ(std::to_integer<int>(memory[1]), 0xaa);
  EXPECT_EQ(load_be<u32>(memory, 1), 0xaabb'ccddu);
  EXPECT_EQ(load_be<u8>(memory, 2), 0xbb);
}

TEST(ByteOrderDeathTest, OutsideOfTheSpanIsOurBug) {
  std::array<std::byte, 4> memory{};
  EXPECT_DEATH(load_le<u32>(memory, 1), "load_le inside the span");
  EXPECT_DEATH(load_le<u8>(memory, ~size_t{0}), "load_le inside the span");
  EXPECT_DEATH(store_be<u64>(memory, 0, 1), "store_le inside the span");
}

u64 size_of(std::string_view text, u64 unit = 1) { return parse_size(text, unit).value(); }

TEST(Sizes, AsPeopleWriteThem) {
  EXPECT_EQ(size_of("1536"), 1536u);
  EXPECT_EQ(size_of("512", MiB), 512 * MiB);
  EXPECT_EQ(size_of("512k", MiB), 512 * KiB);
  EXPECT_EQ(size_of("1.5G"), 3 * GiB / 2);
  EXPECT_EQ(size_of("4GiB"), 4 * GiB);
  EXPECT_EQ(size_of("64kB"), 64 * KiB);
  EXPECT_EQ(size_of("7E"), 7 * (u64{1} << 60));
  EXPECT_EQ(size_of("100b", MiB), 100u);
  EXPECT_EQ(size_of("0x1000"), 4096u);
  EXPECT_EQ(size_of("0x1b"), 27u);         // in hexadecimal b is a digit
  EXPECT_EQ(size_of("0512M"), 512 * MiB);  // sizes are never octal
  EXPECT_EQ(size_of("0"), 0u);
}

TEST(Sizes, WhatIsNotASize) {
  for (const char* text :
       {"", "M", "-1", "1x", "1MM", "1 M", "0x", "1..5G", "-1.5G", "infM", "1Mi", "bB", "."})
    EXPECT_EQ(parse_size(text).error().code, Errc::InvalidArgument) << text;
  for (const char* text :
       {"8E", "9223372036854775808", "99999999999999999999", "8.5E", "0x8000000000000000"})
    EXPECT_EQ(parse_size(text).error().code, Errc::OutOfRange) << text;
  EXPECT_EQ(size_of("9223372036854775807"), ~u64{0} >> 1);
}

TEST(Numbers, InTheNotationOfC) {
  EXPECT_EQ(parse_u64("18446744073709551615").value(), ~u64{0});
  EXPECT_EQ(parse_u64("0XfF").value(), 255u);
  EXPECT_EQ(parse_u64("0777").value(), 511u);
  for (const char* text : {"", "0x", "08", "+1", "-1", "1 ", "0x1g"})
    EXPECT_EQ(parse_u64(text).error().code, Errc::InvalidArgument) << text;
  EXPECT_EQ(parse_u64("18446744073709551616").error().code, Errc::OutOfRange);
}

TEST(Sizes, ArePrintedWithThreeDigits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(1536), "1.50 KiB");
  EXPECT_EQ(format_size(4 * GiB), "4 GiB");
  EXPECT_EQ(format_size(20 * MiB + 512 * KiB), "20.5 MiB");
  EXPECT_EQ(format_size(~u64{0}), "16 EiB");
}

}  // namespace
}  // namespace menura
