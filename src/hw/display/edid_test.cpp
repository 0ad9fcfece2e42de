#include "hw/display/edid.h"

#include <gtest/gtest.h>

#include <numeric>

namespace menura {
namespace {

TEST(Edid, HasHeaderChecksumAndThePreferredMode) {
  const auto block = edid({.width = 1920, .height = 1080});
  EXPECT_EQ(block[0], 0x00);
  EXPECT_EQ(block[1], 0xff);
  EXPECT_EQ(block[7], 0x00);
  EXPECT_EQ(std::accumulate(block.begin(), block.end(), 0u) % 256, 0u);
  EXPECT_EQ(block[56] | (block[58] >> 4) << 8, 1920);
  EXPECT_EQ(block[59] | (block[61] >> 4) << 8, 1080);
  // 60 Hz: clock over total, in 10 kHz, within a percent.
  const unsigned total = (1920 + block[57]) * (1080 + block[60]);
  EXPECT_NEAR((block[54] | block[55] << 8) * 10'000.0 / total, 60, 0.6);
}

TEST(Edid, AnySizeIsCutToWhatFits) {
  for (const u32 side : {0u, 1u, 63u, 5000u, 0xffff'ffffu}) {
    const auto block = edid({.width = side, .height = side, .dpi = 0});
    EXPECT_EQ(std::accumulate(block.begin(), block.end(), 0u) % 256, 0u) << side;
    EXPECT_GT(block[56] | (block[58] >> 4) << 8, 0) << side;
  }
}

}  // namespace
}  // namespace menura
