#include "base/units.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

TEST(ParseSize, ReadsSuffixesInAnyCase) {
  const struct {
    const char* text;
    u64 size;
  } rows[] = {
      {"0", 0},
      {"1536", 1536},
      {"64k", 64 * KiB},
      {"64K", 64 * KiB},
      {"64KiB", 64 * KiB},
      {"64KB", 64 * KiB},
      {"512M", 512 * MiB},
      {"2G", 2 * GiB},
      {"2g", 2 * GiB},
      {"3T", 3 * TiB},
      {"1P", u64{1} << 50},
      {"1E", u64{1} << 60},
      {"7E", u64{7} << 60},
      {"100b", 100},
      {"100B", 100},
      {"1.5G", GiB + 512 * MiB},
      {"0.5k", 512},
      {".5k", 512},
      {"0x1000", 0x1000},
      {"0X1000", 0x1000},
      {"0x1e", 0x1e},
      {"0xb", 0xb},
      {"010", 10},  // sizes are not octal
      {"08G", 8 * GiB},
      {"9223372036854775807", (u64{1} << 63) - 1},
      {"8191P", u64{8191} << 50},
  };
  for (const auto& row : rows) {
    const Result<u64> size = parse_size(row.text);
    ASSERT_TRUE(size) << row.text << ": " << size.error().text;
    EXPECT_EQ(*size, row.size) << row.text;
  }
}

TEST(ParseSize, BareNumbersCountInTheDefaultUnit) {
  EXPECT_EQ(parse_size("128", MiB).value(), 128 * MiB);
  EXPECT_EQ(parse_size("0.5", MiB).value(), 512 * KiB);
  EXPECT_EQ(parse_size("0x10", MiB).value(), 16 * MiB);
  EXPECT_EQ(parse_size("128b", MiB).value(), 128u);
  EXPECT_EQ(parse_size("1G", MiB).value(), GiB);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* text :
       {"",     " ",     "G",     "k",     "-1",   "-1G", "+1",    "1 G",    " 1",  "1 ",
        "1GG",  "1Gi",   "1GiBB", "1kib",  "1X",   "12Q", "1,5G",  "1.5.5G", ".",   ".G",
        "1..2", "0x",    "0xg",   "0x10k", "0x-1", "1e3", "1.5e3", "1.5e3k", "inf", "nan",
        "infG", "0xffM", "-0.5",  "1.G2",  "k1",   "Bi",  "1iB",   "1bB"}) {
    const Result<u64> size = parse_size(text);
    ASSERT_FALSE(size) << text << " = " << *size;
    EXPECT_EQ(size.error().code, Errc::InvalidArgument) << text;
  }
  EXPECT_EQ(parse_size("12Q").error().text, "'12Q' is not a size (try 512M or 2G)");
}

TEST(ParseSize, RefusesFromTwoToThe63) {
  for (const char* text : {"8E", "9223372036854775808", "18446744073709551615",
                           "18446744073709551616", "99999999999999999999999999G", "16E", "8.0E",
                           "0x8000000000000000", "123456789012345678901234567890.5"}) {
    const Result<u64> size = parse_size(text);
    ASSERT_FALSE(size) << text << " = " << *size;
    EXPECT_EQ(size.error().code, Errc::OutOfRange) << text;
  }
  EXPECT_EQ(parse_size("9007199254740992", 1024).error().code, Errc::OutOfRange);
}

TEST(ParseU64, ReadsCNotation) {
  EXPECT_EQ(parse_u64("0").value(), 0u);
  EXPECT_EQ(parse_u64("00").value(), 0u);
  EXPECT_EQ(parse_u64("42").value(), 42u);
  EXPECT_EQ(parse_u64("0x2A").value(), 42u);
  EXPECT_EQ(parse_u64("0X2a").value(), 42u);
  EXPECT_EQ(parse_u64("052").value(), 42u);
  EXPECT_EQ(parse_u64("18446744073709551615").value(), ~u64{0});
  EXPECT_EQ(parse_u64("0xffffffffffffffff").value(), ~u64{0});
  for (const char* text :
       {"", "0x", "x", "-1", "+1", "08", "1 ", " 1", "1k", "0x1g", "0b1", "1.0"}) {
    const Result<u64> value = parse_u64(text);
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().code, Errc::InvalidArgument) << text;
  }
  EXPECT_EQ(parse_u64("18446744073709551616").error().code, Errc::OutOfRange);
  EXPECT_EQ(parse_u64("0x10000000000000000").error().code, Errc::OutOfRange);
}

TEST(FormatSize, ThreeSignificantDigits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(1536), "1.50 KiB");
  EXPECT_EQ(format_size(1536 * MiB), "1.50 GiB");
  EXPECT_EQ(format_size(12 * MiB + 345 * KiB), "12.3 MiB");
  EXPECT_EQ(format_size(64 * GiB), "64 GiB");
  EXPECT_EQ(format_size(~u64{0}), "16 EiB");
}

// What is printed can be read again, to its three digits.
TEST(FormatSize, IsReadBack) {
  for (unsigned shift = 0; shift < 63; shift++) {
    const u64 size = u64{1} << shift;
    std::string text = format_size(size);
    text.erase(text.find(' '), 1);
    ASSERT_TRUE(parse_size(text)) << text;
    EXPECT_NEAR(static_cast<double>(*parse_size(text)), static_cast<double>(size),
                static_cast<double>(size) / 100);
  }
}

}  // namespace
}  // namespace menura
