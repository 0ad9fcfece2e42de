#include "hw/net/frames.h"

#include <gtest/gtest.h>

#include <vector>

namespace menura {
namespace {

// RFC 1071 §3's example.
TEST(Frames, SumsAsRfc1071) {
  const u8 bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(ones_sum(std::as_bytes(std::span(bytes))), 0xddf2);
  EXPECT_EQ(ones_checksum(std::as_bytes(std::span(bytes))), 0x220d);
  EXPECT_EQ(ones_sum(std::as_bytes(std::span(bytes)).first(3)), 0xf201);
  EXPECT_EQ(ones_sum({}, 0x1fffe), 0xffff);
}

// Against the definition, for every length and alignment.
TEST(Frames, SumsAnySpan) {
  std::vector<std::byte> bytes(64);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<std::byte>(i * 37 + 200);
  for (size_t from = 0; from < 8; from++)
    for (size_t size = 0; from + size <= bytes.size(); size++) {
      u32 sum = 0;
      for (size_t i = 0; i < size; i++)
        sum += static_cast<u32>(bytes[from + i]) << (i % 2 == 0 ? 8 : 0);
      while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
      ASSERT_EQ(ones_sum(ConstBytes(bytes).subspan(from, size)), sum) << from << " " << size;
    }
}

// Computed with zlib's crc32: its bits reversed, without the last inversion.
TEST(Frames, HashesAddresses) {
  EXPECT_EQ(address_crc({0x33, 0x33, 0, 0, 0, 1}), 0xf99baabau);
  EXPECT_EQ(address_crc({0x01, 0x00, 0x5e, 0, 0, 0xfb}), 0x3f7b3b21u);
  EXPECT_EQ(address_crc({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 0xff48647du);
}

TEST(Frames, FindsNothingInRubbish) {
  std::vector<std::byte> frame(100);
  u32 random = 7;
  for (int round = 0; round < 20000; round++) {
    frame.resize(random % 100);
    for (std::byte& byte : frame) {
      random = random * 1664525 + 1013904223;
      byte = static_cast<std::byte>(random >> 24);
    }
    if (frame.size() > 20) {
      store_be<u16>(frame, 12, round % 2 ? 0x0800 : 0x86dd);
      frame[14] = static_cast<std::byte>(round % 2 ? 0x45 : 0x60);
    }
    const std::optional<IpLayout> layout = find_ip(frame);
    if (!layout) continue;
    ASSERT_LE(layout->payload, layout->end);
    ASSERT_LE(layout->end, frame.size());
    (void)ip_checksum_good(frame, *layout);
    (void)payload_checksum_good(frame, *layout);
  }
}

}  // namespace
}  // namespace menura
