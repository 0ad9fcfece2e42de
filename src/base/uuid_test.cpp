#include "base/uuid.h"

#include <gtest/gtest.h>

namespace menura {
namespace {

TEST(Uuid, TextAndBack) {
  const std::string text = "00112233-4455-6677-8899-aabbccddeeff";
  const Uuid uuid = parse_uuid(text).value();
  EXPECT_EQ(uuid[4], 0x44);
  EXPECT_EQ(format_uuid(uuid), text);
  // RFC 4122's time-low, time-mid and time-high fields turn around, the rest does not.
  EXPECT_EQ(format_uuid(little_endian(uuid)), "33221100-5544-7766-8899-aabbccddeeff");
}

TEST(Uuid, OnlyThatForm) {
  for (const char* text :
       {"", "00112233", "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0", "0011223-34455-6677-8899-aabbccddeeff",
        "0011223g-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff"})
    EXPECT_FALSE(parse_uuid(text)) << text;
}

}  // namespace
}  // namespace menura
