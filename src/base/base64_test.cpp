#include "base/base64.h"

#include <gtest/gtest.h>

#include <random>

namespace menura {
namespace {

// RFC 4648 §10.
TEST(Base64, TheStandardsVectors) {
  const std::pair<std::string_view, std::string_view> vectors[] = {{"", ""},
                                                                   {"f", "Zg=="},
                                                                   {"fo", "Zm8="},
                                                                   {"foo", "Zm9v"},
                                                                   {"foob", "Zm9vYg=="},
                                                                   {"fooba", "Zm9vYmE="},
                                                                   {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : vectors) {
    EXPECT_EQ(base64_encode(bytes_of(plain)), coded);
    const Result<std::vector<std::byte>> back = base64_decode(coded);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(back->data()), back->size()), plain);
  }
}

TEST(Base64, RefusesWhatIsNotBase64) {
  for (std::string_view text :
       {"Z", "Zg=", "Zg", "Z===", "====", "Zm9$", "Zm 9", "=Zm9", "Zh==", "Zm9=", "Zg==Zg=="})
    EXPECT_FALSE(base64_decode(text).ok()) << text;
}

TEST(Base64, RandomBytesReturn) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; round++) {
    std::vector<std::byte> bytes(random() % 100);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    const Result<std::vector<std::byte>> back = base64_decode(base64_encode(bytes));
    ASSERT_TRUE(back.ok());
    ASSERT_EQ(*back, bytes);
  }
}

}  // namespace
}  // namespace menura
